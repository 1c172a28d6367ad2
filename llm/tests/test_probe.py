"""`manage.py test_providers`: real calls to each provider, and a clear message for each failure."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from llm import providers
from llm.probe import probe
from qa.testing.llm import KEY


@pytest.fixture
def configured(settings, fake):
    """Return a function that configures the named providers with the fake one's URL, and no others."""

    def configure(*names, key=KEY, base_url=""):
        settings.LLM_FIRST_TOKEN_SECONDS = 0.5
        settings.LLM_TOTAL_SECONDS = 1.0
        settings.LLM_PROVIDERS = {
            name: {
                "api_key": key if name in names else "",
                "base_url": (base_url or fake.base_url(name)) if name in names else "",
                "model": "fake-large",
            }
            for name in providers.PROVIDERS
        }

    return configure


def test_providers(**options):
    """Return (output, error message) of the command."""
    out = StringIO()
    try:
        call_command("test_providers", stdout=out, **options)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


test_providers.__test__ = False


def test_each_provider_is_called_whole_and_streamed(configured, fake):
    configured("groq", "gemini")
    groq, gemini, *others = probe([providers.get(name) for name in providers.PROVIDERS])
    for result in (groq, gemini):
        assert result.ok
        assert [check.stream for check in result.checks] == [False, True]
        assert all(check.reply.startswith("You said: Reply with") for check in result.checks)
        assert result.checks[0].first_token_ms is None
        assert 0 <= result.checks[1].first_token_ms <= result.checks[1].latency_ms
    assert [other.ok for other in others] == [None, None, None]
    assert sorted((entry.provider, entry.stream) for entry in fake.log()) == [
        ("gemini", False),
        ("gemini", True),
        ("groq", False),
        ("groq", True),
    ]


def test_providers_are_called_in_parallel(configured, fake):
    configured("groq", "gemini", "openrouter")
    fake.script(fault="silent")
    results = probe([providers.get(name) for name in ("groq", "gemini", "openrouter")])
    assert all(result.problem.startswith("No answer in time") for result in results)
    starts = [entry.at for entry in fake.log()]
    assert len(starts) == 6
    assert max(starts) - min(starts) < 0.5  # One after the other they would be 1 s apart.


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("401", "Wrong key: Groq refused GROQ_API_KEY."),
        ("402", "No credit: Groq requires payment"),
        ("404", "Model gone: Groq does not know the model fake-large"),
        ("429-bare", "Rate limit: Groq"),
        ("503", "Groq is overloaded or failing (status 503)."),
        ("reset", "Network: Groq reset the connection."),
        ("html", "Groq sent an answer that cannot be read."),
    ],
)
def test_failure_has_a_clear_message(configured, fake, fault, message):
    configured("groq")
    fake.script(fault=fault)
    out, error = test_providers(provider="groq")
    assert error == "Failed: Groq."
    assert out.count(message) == 2
    assert KEY not in out


def test_refused_connection_is_a_network_problem(configured):
    configured("groq", base_url="http://127.0.0.1:9")
    out, error = test_providers(provider="groq")
    assert "Network: Groq refused the connection." in out
    assert error


def test_invalid_key_is_reported_but_not_shown(configured):
    configured("groq", key="bad\nkey")
    out, error = test_providers(provider="groq")
    assert "GROQ_API_KEY has a space, a line break" in out
    assert "bad" not in out
    assert error == "Failed: Groq."


def test_unconfigured_provider_is_not_a_failure(configured):
    configured("groq")
    out, error = test_providers()
    assert error == ""
    assert "Gemini: Not configured: set GEMINI_API_KEY." in out
    assert "set OPENAI_COMPATIBLE_BASE_URL." in out


def test_requested_model_is_tested(configured, fake):
    configured("groq")
    out, _ = test_providers(provider="groq", model="fake-small")
    assert "Groq, fake-small" in out
    assert {entry.model for entry in fake.log()} == {"fake-small"}


def test_model_without_a_provider_is_refused():
    _, error = test_providers(model="fake-small")
    assert "Name the model's provider" in error


def test_missing_model_is_reported(configured, settings):
    configured("groq")
    settings.LLM_PROVIDERS["groq"]["model"] = ""
    out, _ = test_providers(provider="groq")
    assert "No model is set: set GROQ_MODEL." in out


def test_json_has_the_same_results(configured):
    configured("groq")
    out, _ = test_providers(json=True)
    groq, *others = json.loads(out)
    assert (groq["provider"], groq["ok"], len(groq["checks"])) == ("groq", True, 2)
    assert {other["ok"] for other in others} == {None}
