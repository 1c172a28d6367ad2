"""Environment variables: documentation, parsing, and what production requires."""

import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config import combinations, web_settings
from config.environment import VARIABLES, Variable, boolean, duration, read

STRONG = {
    "SECRET_KEY": "0bJ4vX7mQ2sT9kWz5rLp8nYc3hGd6fAe1uRiOo7tMx2b",
    "JWT_ACCESS_SECRET": "Zq8Lw3Ny6Tk1Vb4Hs9Jd2Fg7Pm5Xc0Ra8Ue3Io6Yt1",
    "JWT_REFRESH_SECRET": "Kd5Gh2Jk9Lz6Xc3Vb0Nm7Qw4Er1Ty8Ui5Op2As9Df6",
    "API_KEY_PEPPER": "Mn7Bv4Cx1Zl8Kj5Hg2Fd9Sa6Po3Iu0Yt7Re4Wq1Lm8",
}
PRODUCTION = {
    **STRONG,
    "DJANGO_ENV": "production",
    "ALLOWED_HOSTS": "chat.acme.test",
    "MONGODB_URI": "mongodb://127.0.0.1:1/chat-agent",
}


def documented() -> list[tuple[str, str, str]]:
    """Return (meaning, name, value) of every variable in .env.example, in order."""
    text = (settings.BASE_DIR / ".env.example").read_text()
    return re.findall(r"^# (.+)\n([A-Z_]+)=(.*)$", text, re.MULTILINE)


def written(variable: Variable) -> str:
    default = variable.default
    return ",".join(default) if isinstance(default, list) else str(default)


def in_production(*command: str, **changes: str) -> subprocess.CompletedProcess:
    """Run a management command with these variables and without any other of this product."""
    ours = {"DJANGO_SETTINGS_MODULE", *(variable.name for variable in VARIABLES)}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env=inherited | PRODUCTION | changes,
        capture_output=True,
        text=True,
        check=False,
    )


def test_example_lists_every_variable_in_order_with_its_meaning_and_default():
    assert documented() == [(variable.meaning, variable.name, written(variable)) for variable in VARIABLES]


def test_example_copied_as_it_is_gives_the_defaults(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    defaults, _ = read(VARIABLES, settings.BASE_DIR / "no such file")
    for _, name, value in documented():
        monkeypatch.setenv(name, value)
    assert read(VARIABLES, settings.BASE_DIR / "no such file") == (defaults, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("30", timedelta(seconds=30)),
        (" 1.5 ", timedelta(seconds=1.5)),
    ],
)
def test_durations_are_parsed(text, expected):
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "15 minutes", "-1", "-5m", "1y", "inf", "nan"])
def test_malformed_durations_are_rejected(text):
    with pytest.raises(ImproperlyConfigured, match="is not a duration"):
        duration(text)


@pytest.mark.slow
def test_production_starts_with_strong_secrets():
    result = in_production("check")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", STRONG)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is missing"),
        ("Zq8Lw3Ny6Tk1Vb4Hs9Jd2Fg7Pm5Xc0R", "is shorter than 32 bytes"),
        ("your-access-secret-key-your-access-secret-key", "still holds a sample value"),
    ],
)
def test_production_rejects_a_weak_secret_and_names_it(name, value, problem):
    result = in_production("check", **{name: value})
    assert result.returncode != 0
    assert f"{name} {problem}" in result.stderr
    assert not value or value not in result.stderr


@pytest.mark.slow
def test_production_rejects_one_secret_for_both_tokens():
    result = in_production("check", JWT_REFRESH_SECRET=STRONG["JWT_ACCESS_SECRET"])
    assert result.returncode != 0
    assert "JWT_ACCESS_SECRET and JWT_REFRESH_SECRET must be two different secrets" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ALLOWED_HOSTS", "MONGODB_URI"])
def test_production_has_no_default_hosts_and_database(name):
    result = in_production("check", **{name: ""})
    assert result.returncode != 0
    assert f"{name} is missing" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("DRAIN_SECONDS", "soon"), ("JWT_ACCESS_EXPIRY", "a while")]
)
def test_a_value_of_the_wrong_type_is_named(name, value):
    result = in_production("check", **{name: value})
    assert result.returncode != 0
    assert name in result.stderr


@pytest.mark.parametrize(("django_env", "port"), [("development", 4000), ("test", 3001)])
def test_tests_do_not_read_the_env_file(django_env, port, tmp_path, monkeypatch):
    monkeypatch.setenv("DJANGO_ENV", django_env)
    monkeypatch.delenv("PORT", raising=False)
    (tmp_path / ".env").write_text("PORT=4000\n")

    values, _ = read(VARIABLES, tmp_path / ".env")
    assert values["PORT"] == port
    monkeypatch.delenv("PORT", raising=False)  # reading a file sets what it has


@pytest.mark.slow
def test_everything_that_is_wrong_is_reported_at_once_without_a_traceback():
    wrong = {
        **dict.fromkeys(PRODUCTION, ""),
        "DJANGO_ENV": "production",
        "PORT": "http",
        "JOBS": "maybe",
        "LOG_LEVEL": "loud",
        "REDIS_URL": "localhost:6379",
        "GROQ_BASE_URL": "api.groq.com",
        "LLM_ROUTE": "groq,nosuch",
        "LLM_CATALOGUE": "/no/such/file.json",
        "TRUSTED_PROXIES": "nginx,0.0.0.0/0",
        "TRUSTED_ORIGINS": "chat.example.com",
        "PATH_PREFIX": "assistant",
        "HSTS_PRELOAD": "True",
        "CONFIRM_EMAIL": "True",
    }

    result = in_production("serve", **wrong)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    reported = re.findall(r"^- (\w+)", result.stderr, re.MULTILINE)
    expected = {*wrong, "EMAIL_URL"} - {"DJANGO_ENV", "CONFIRM_EMAIL"}
    assert set(reported) == expected
    assert reported.count("TRUSTED_PROXIES") == 2


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "TRUSTED_PROXIES must not be 0.0.0.0/0"),
        ({"TRUSTED_PROXIES": "10.0.0.1,::/0"}, "TRUSTED_PROXIES must not be ::/0"),
        ({"REGISTRATION": "invitation"}, "EMAIL_URL is missing"),
        ({"CONFIRM_EMAIL": "yes"}, "EMAIL_URL is missing"),
        ({"HSTS_PRELOAD": "True", "HSTS_SECONDS": "31536000"}, "HSTS_PRELOAD needs"),
        ({"HSTS_PRELOAD": "True", "HSTS_INCLUDE_SUBDOMAINS": "True"}, "HSTS_PRELOAD needs"),
        ({"EMAIL_URL": "smtp+tls://user:secret-word@"}, "EMAIL_URL"),
        ({"EMAIL_URL": "smtp+tls://user:secret-word@host:port"}, "EMAIL_URL"),
        ({"EMAIL_URL": "mail.example.com"}, "EMAIL_URL"),
        ({"MONGODB_URI": "127.0.0.1:27017"}, "MONGODB_URI must begin with mongodb:// or mongodb+srv://"),
        ({"TRUSTED_ORIGINS": "*"}, "TRUSTED_ORIGINS"),
        ({"PATH_PREFIX": "/a b"}, "PATH_PREFIX"),
        ({"LLM_ROUTE": "grok"}, "LLM_ROUTE"),
    ],
)
def test_unsafe_combinations_are_problems_in_production(variables, sentence, monkeypatch):
    problems = problems_with(monkeypatch, variables)
    assert len(problems) == 1
    assert sentence in problems[0]
    assert "secret-word" not in problems[0]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"TRUSTED_PROXIES": "none"},
        {"TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8,192.0.2.7"},
        {"CONFIRM_EMAIL": "yes", "EMAIL_URL": "smtp+tls://user:pass%23word@mail.example.com:587"},
        {"HSTS_PRELOAD": "on", "HSTS_INCLUDE_SUBDOMAINS": "on", "HSTS_SECONDS": "31536000"},
        {"HSTS_SECONDS": "0"},
        {"TRUSTED_ORIGINS": "https://chat.example.com:8443,http://[::1]:8080"},
        {"PATH_PREFIX": "/assistant/"},
    ],
)
def test_other_settings_are_accepted(variables, monkeypatch):
    assert problems_with(monkeypatch, variables) == []


def problems_with(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> list[str]:
    """Return what is wrong with these variables in production, as `config.settings` collects it."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    for name, value in (PRODUCTION | variables).items():
        monkeypatch.setenv(name, value)
    env, problems = read(VARIABLES, settings.BASE_DIR / "no such file")
    web_settings.proxies(env["TRUSTED_PROXIES"], problems)
    web_settings.origins(env["TRUSTED_ORIGINS"], problems)
    web_settings.path_prefix(env["PATH_PREFIX"], problems)
    web_settings.email(env["EMAIL_URL"], problems, production=True)
    combinations.check(env, problems, production=True, providers=["groq"])
    return problems


@pytest.mark.slow
@pytest.mark.parametrize("command", [["serve"], ["check", "--deploy"], ["run_jobs"]], ids=" ".join)
def test_a_database_that_does_not_answer_is_one_sentence(command):
    result = in_production(*command, GROQ_API_KEY="never-used")
    assert result.returncode == 1
    assert "The database does not answer. Check MONGODB_URI, and that MongoDB runs." in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["serve"], ["run_jobs"]])
def test_a_platform_without_the_embedded_database_gets_a_sentence(command, tmp_path):
    (tmp_path / "fiftyone" / "db").mkdir(parents=True)
    for package in ("fiftyone", "fiftyone/db"):
        (tmp_path / package / "__init__.py").touch()
    bare = {"DJANGO_ENV": "development", "MONGODB_URI": "", "VAR_DIR": str(tmp_path / "var")}

    result = in_production(*command, **bare, GROQ_API_KEY="never-used", PYTHONPATH=str(tmp_path))

    assert result.returncode == 1
    assert "no embedded MongoDB is installed: its wheel exists for Linux on x86-64 only" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_data_folder_that_cannot_be_made_is_a_sentence():
    development = {**dict.fromkeys(STRONG, ""), "DJANGO_ENV": "development", "VAR_DIR": "/proc/none/var"}
    result = in_production("serve", **development)
    assert result.returncode == 1
    assert "VAR_DIR" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_python_without_the_requirements_gets_a_sentence():
    command = [sys.executable, "-S", "manage.py", "check"]  # without site-packages
    result = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "make setup" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("True", True), ("yes", True), ("ON", True), ("1", True), ("false", False), ("no", False), ("0", False)],
)
def test_booleans_are_parsed(text, expected):
    assert boolean(text) is expected
