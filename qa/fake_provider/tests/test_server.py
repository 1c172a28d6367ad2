"""The fake provider: answers, scripts, the log, and the command that runs it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading

import pytest
import requests
from django.conf import settings

from qa.fake_provider.server import FakeProvider, Script, fingerprint
from qa.testing.llm import CLOCK, KEY, WEATHER, asking

PROVIDERS = ["groq", "openrouter", "openai_compatible", "gemini"]


def control(fake, **script):
    return requests.post(f"{fake.url}/_control", json=script, timeout=5)


def logged(fake):
    return requests.get(f"{fake.url}/_log", timeout=5).json()


# -- Answers --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_same_question_has_the_same_answer_in_every_wire_format(call, name):
    streamed, whole = call(name).completion, call(name, stream=False).completion
    assert streamed.text == whole.text
    assert streamed.text.startswith("You said: Hello there and here are some calm words")
    assert (streamed.usage.input, streamed.usage.output) == (12, 34)


@pytest.mark.parametrize("name", PROVIDERS)
def test_length_and_limits_are_respected(call, name):
    assert len(call(name, "tokens-7").completion.text.split()) == 7
    cut = call(name, "tokens-7", request=asking(max_tokens=2)).completion
    assert (cut.text.split(), cut.finish) == (["word1", "word2"], "length")
    assert call(name, "tokens-7", request=asking(stop=("word3",))).completion.text.split() == [
        "word1",
        "word2",
    ]


@pytest.mark.parametrize("name", PROVIDERS)
def test_requested_json_is_valid_under_its_schema(call, name):
    city = {"type": "object", "properties": {"city": {"type": "string"}, "size": {"type": "integer"}}}
    request = asking(json_schema={"name": "city", "schema": city})
    assert json.loads(call(name, request=request).completion.text) == {"city": "Paris", "size": 1}
    assert json.loads(call(name, request=asking(json_mode=True)).completion.text)


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("choice", ["required", "get_time", "none"])
def test_tools_are_called_as_chosen(call, name, choice):
    completion = call(name, request=asking("Hi", tools=(WEATHER, CLOCK), tool_choice=choice)).completion
    expected = {"required": ["get_weather", "get_time"], "get_time": ["get_time"], "none": []}[choice]
    assert [call.name for call in completion.tool_calls] == expected


@pytest.mark.parametrize("path", ["/nowhere/v1/chat/completions", "/_nothing"])
def test_an_unknown_path_is_not_found(fake, path):
    assert requests.post(fake.url + path, json={}, timeout=5).status_code == 404


def test_gemini_refuses_the_contents_that_google_refuses(fake):
    url = f"{fake.base_url('gemini')}/models/m:generateContent"

    def post(*contents):
        return requests.post(url, json={"contents": contents}, headers={"x-goog-api-key": "k"}, timeout=5)

    user, model = ({"role": role, "parts": [{"text": "x"}]} for role in ("user", "model"))
    unsigned = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    assert post(user).status_code == 200
    for contents in ([], [model], [user, model], [user, user], [user, unsigned, user]):
        assert post(*contents).status_code == 400
    assert post({"role": "user", "parts": [{"text": ""}]}).status_code == 400


# -- Scripts --------------------------------------------------------------------------


def test_a_script_lists_faults_call_by_call(call, fake):
    assert control(fake, model="m", faults=["503", None, "cut-after-1"], fault="429").status_code == 200
    kinds = [getattr(call(model="m").error, "kind", None) for _ in range(5)]
    assert kinds == ["overloaded", None, "bad_reply", "rate_limit", "rate_limit"]
    assert call(model="another").completion


def test_a_script_applies_to_its_provider_only(call, fake):
    control(fake, provider="groq", fault="503", times=1)
    assert call("openrouter").completion
    assert call("groq").error
    assert call("groq").completion


def test_a_script_sets_the_answer(call, fake):
    answer = {"text": "Set by a script.", "reasoning": "hm", "usage": [1, 2, 0, 0]}
    control(fake, answer=answer)
    completion = call("gemini").completion
    assert (completion.text, completion.reasoning.strip(), completion.usage.output) == (
        "Set by a script.",
        "hm",
        2,
    )
    control(fake, answer={"tool_calls": [["get_time", {}]]})
    made = call("groq", request=asking(tools=(CLOCK,))).completion
    assert made.tool_calls[0].name == "get_time"
    control(fake, answer={"usage": None})
    assert call("openrouter").completion.usage.total == 0


def test_a_script_sets_headers(call, fake):
    control(fake, fault="429-bare", headers={"Retry-After": "9"})
    assert call().error.retry_after_seconds == 9


@pytest.mark.parametrize("script", [{"fault": "nonsense"}, {"faults": ["nonsense"]}, {"colour": "red"}])
def test_an_invalid_script_is_refused(fake, script):
    assert control(fake, **script).status_code == 400


def test_scripts_can_be_removed(call, fake):
    control(fake, fault="503")
    requests.delete(f"{fake.url}/_control", timeout=5)
    assert call().completion


def test_a_script_is_limited_to_the_first_calls():
    script = Script(provider="groq", fault="503", times=1)
    assert script.next_fault().name == "503"
    assert script.next_fault() is None


# -- The log ---------------------------------------------------------------------------


def test_the_log_has_requests_without_keys(call, fake):
    call("openrouter", "tokens-3")
    entry = fake.wait_for(lambda log: log[-1].finished and log)[0]
    (shown,) = logged(fake)
    assert shown["provider"] == "openrouter"
    assert (shown["model"], shown["stream"], shown["method"]) == ("tokens-3", True, "POST")
    assert shown["body"]["messages"] == [{"role": "user", "content": "Hello there"}]
    assert shown["key"] == fingerprint(KEY)
    assert KEY not in json.dumps(shown)
    assert (shown["status"], shown["finished"], shown["disconnected_after"]) == (200, True, None)
    assert shown["sent_bytes"] == entry.sent_bytes > 100
    requests.delete(f"{fake.url}/_log", timeout=5)
    assert logged(fake) == []


def test_the_log_has_the_time_when_the_client_disconnected(fake):
    body = {"model": "tokens-1000-every-20ms", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    url = f"{fake.base_url('local')}/chat/completions"
    with requests.post(url, json=body, stream=True, timeout=5) as response:
        next(response.iter_content(10))
    entry = fake.wait_for(lambda log: log[-1].disconnected_after is not None and log)[-1]
    assert not entry.finished


def test_hundreds_of_streams_are_open_at_once(fake):
    count = 300
    url = f"{fake.base_url('local')}/chat/completions"
    body = {"model": "fault-stall-after-1", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with contextlib.ExitStack() as stack, requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=count))
        bodies = []  # An iterator that is deleted closes its connection.
        for _ in range(count):
            response = stack.enter_context(session.post(url, json=body, stream=True, timeout=10))
            bodies.append(response.iter_content(20))
            assert next(bodies[-1])
        assert len(fake.log()) == count
        assert all(entry.disconnected_after is None for entry in fake.log())
    fake.wait_for(lambda log: all(entry.disconnected_after is not None for entry in log))


def test_stopping_ends_open_streams():
    with FakeProvider() as fake:
        url = f"{fake.base_url('local')}/chat/completions"
        body = {"model": "fault-stall", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        response = requests.post(url, json=body, stream=True, timeout=5)
    with pytest.raises(requests.RequestException):
        list(response.iter_content(None))
    assert not [thread for thread in threading.enumerate() if thread is fake._thread]


# -- The command ------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_serves_and_prints_the_variables(tmp_path):
    command = [sys.executable, "manage.py", "fake_provider", "--port", "0"]
    environment = os.environ | {"VAR_DIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            printed = {}
            for line in process.stdout:
                if line.startswith("# A model"):
                    break
                if match := re.fullmatch(r"([A-Z_]+)=(.+)\n", line):
                    printed[match[1]] = match[2]
            assert printed["GROQ_API_KEY"]
            headers = {"Authorization": f"Bearer {printed['GROQ_API_KEY']}"}
            models = requests.get(f"{printed['GROQ_BASE_URL']}/models", headers=headers, timeout=5).json()
            assert printed["GROQ_MODEL"] in [model["id"] for model in models["data"]]
        finally:
            process.terminate()
