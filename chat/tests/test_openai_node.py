"""The official Node package works by changing its base URL and key.

`openai_node/package.json` pins the package: a release that runs on Node 20. It is
installed once, under VAR_DIR.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from qa.fake_provider.answers import WORDS
from qa.testing.chat import settled_usage
from tenants.models import LedgerEntry

SOURCE = Path(__file__).parent / "openai_node"
ANSWER = f"You said: Hello {WORDS}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def package() -> Path:
    """Return the folder in which Node finds the package."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    version = subprocess.check_output(["node", "--version"], text=True).strip()
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"Node 20 or newer is needed, this is {version}")
    pinned = (SOURCE / "package.json").read_text()
    folder = settings.VAR_DIR / "openai-node" / json.loads(pinned)["dependencies"]["openai"]
    if not (folder / "node_modules" / "openai" / "package.json").exists():
        _install(folder, pinned)
    return folder


def _install(folder: Path, pinned: str) -> None:
    """Install beside the folder and move the result there, so that it is complete or absent."""
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        (draft / "package.json").write_text(pinned)
        options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(
            ["npm", "install", *options], cwd=draft, capture_output=True, text=True, timeout=100, check=False
        )
        if installed.returncode:
            pytest.skip(f"npm could not install the package: {installed.stderr.strip()[-300:]}")
        if not folder.exists():
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@pytest.fixture
def node(package: Path, openai_client, openai_key) -> Callable[..., Any]:
    """Run a scenario of `openai_node/client.mjs` and return what it printed."""
    environment = os.environ | {"OPENAI_BASE_URL": str(openai_client.base_url), "OPENAI_API_KEY": openai_key}

    def run(*words: str) -> Any:
        done = subprocess.run(
            ["node", SOURCE / "client.mjs", *words],
            cwd=package,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_question_is_answered(node):
    answer = node("plain")

    assert (answer["text"], answer["finish"], answer["model"]) == (ANSWER, "stop", "groq/some-model")
    assert answer["usage"]["total_tokens"] == 46


def test_a_stream_has_the_answer_and_ends_with_its_usage(node):
    answer = node("stream")

    assert (answer["text"], answer["usage"]["total_tokens"]) == (ANSWER, 46)


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter"])
def test_tools_are_run_until_there_is_an_answer(node, provider):
    assert "sunny in Paris" in node("tools", f"{provider}/some-model")["text"]


def test_parallel_calls_are_collected_from_a_stream(node):
    assert node("parallel") == [["weather", {"city": "Paris"}], ["clock", {}]]


def test_an_answer_follows_its_json_schema(node):
    assert node("schema") == {"city": "Paris"}


def test_a_fallback_answers_and_is_named(node):
    assert node("fallbacks", "groq/fault-404") == "openrouter/good"


def test_a_client_that_disconnects_stops_the_provider(node, fake, acme):
    assert node("disconnect", "groq/tokens-2000-every-10ms") is True

    fake.wait_for(lambda log: log[0].disconnected_after is not None)
    settled_usage(acme)
    assert LedgerEntry.objects.get(tenant=acme).outcome == "cancelled"


def test_models_are_listed_and_retrieved(node):
    names, one = node("models", "openrouter/openai/gpt-oss-120b")

    assert names[0] == "default"
    assert one == "openrouter/openai/gpt-oss-120b"


@pytest.mark.parametrize(
    ("model", "name", "code"),
    [
        ("unknown/model", "NotFoundError", "model_not_found"),
        ("groq/fault-400", "BadRequestError", "provider_refused"),
        ("groq/fault-context-length", "BadRequestError", "context_length_exceeded"),
        ("groq/fault-429-wait-42", "RateLimitError", "providers_busy"),
        ("groq/fault-401", "InternalServerError", "provider_failed"),
    ],
)
def test_failures_are_the_exceptions_of_the_package(node, model, name, code):
    failure = node("failure", model)

    assert (failure["name"], failure["code"]) == (name, code)


def test_a_deleted_key_is_an_authentication_error(node, acme):
    acme.api_keys.all().delete()

    assert node("failure")["name"] == "AuthenticationError"


def test_a_stream_that_breaks_throws(node):
    broken = node("broken", "groq/fault-cut-clean")

    assert broken["text"] == "You said: Hello "
    assert (broken["name"], broken["code"]) == ("APIError", "provider_failed")
