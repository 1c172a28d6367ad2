"""Each parameter is passed on, left out with a note on the receipt, or refused."""

from __future__ import annotations

import json

import pytest
import requests

from chat.tests.test_openai_echoes import HELLO
from qa.testing.chat import settled_usage

SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}


def tool(name: str) -> dict:
    return {"type": "function", "function": {"name": name, "description": ""}}


@pytest.fixture
def post(openai_server, fake, openai_key):
    """Return a function that sends a completion request to a provider and returns its response."""

    def post(provider: str = "groq", content="Hello", **body) -> requests.Response:
        return requests.post(
            f"{openai_server.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {openai_key}"},
            json={"model": f"{provider}/m", "messages": [{"role": "user", "content": content}], **body},
            timeout=60,
        )

    return post


@pytest.fixture
def exchange(post, fake):
    """Return a function that sends such a request; it returns what the provider received, and the notes."""

    def exchange(*args, **body) -> tuple[dict, list[str]]:
        response = post(*args, **body)
        assert response.status_code == 200, response.text
        return fake.log()[-1].body, response.json().get("notes", [])

    return exchange


@pytest.mark.parametrize("provider", ["openrouter", "openai_compatible"])
def test_sampling_and_verbosity_are_passed_on(exchange, provider):
    sent = {"frequency_penalty": 0.5, "presence_penalty": -1, "verbosity": "low", "seed": 7, "top_p": 0.5}
    sent |= {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "logit_bias": {"50256": -100}}
    received, notes = exchange(provider, **sent)

    assert sent.items() <= received.items()
    assert notes == []


def test_gemini_gets_penalties_in_its_own_words(exchange):
    received, notes = exchange("gemini", frequency_penalty=0.5, presence_penalty=-1, top_k=40)

    assert {"frequencyPenalty": 0.5, "presencePenalty": -1, "topK": 40}.items() <= received[
        "generationConfig"
    ].items()
    assert notes == []


@pytest.mark.parametrize(
    ("provider", "parameter", "value"),
    [
        ("groq", "verbosity", "high"),
        ("groq", "frequency_penalty", 1),
        ("groq", "presence_penalty", 0.5),
        ("groq", "top_k", 40),
        ("groq", "repetition_penalty", 1.1),
        ("gemini", "min_p", 0.1),
        ("gemini", "verbosity", "low"),
        ("gemini", "parallel_tool_calls", False),
        ("openrouter", "store", True),
        ("openai_compatible", "prediction", {"type": "content", "content": "x"}),
    ],
)
def test_a_parameter_that_a_target_does_not_use_is_left_out_with_a_note(exchange, provider, parameter, value):
    received, notes = exchange(provider, tools=[tool("clock")], **{parameter: value})

    assert parameter not in json.dumps(received)
    assert [note.partition(" ")[0] for note in notes] == [parameter]


@pytest.mark.parametrize(
    ("parameter", "value"), [("store", False), ("prediction", None), ("verbosity", None)]
)
def test_a_parameter_that_means_nothing_has_no_note(exchange, parameter, value):
    assert exchange(**{parameter: value})[1] == []


def test_the_notes_of_a_stream_are_in_its_last_chunk(post):
    chunks = post(stream=True, store=True).text.split("\n\n")[:-2]

    *others, last = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]
    assert last["notes"] == ["store was left out: nothing of a conversation is stored here."]
    assert not any("notes" in chunk for chunk in others)


def test_notes_are_those_of_the_target_that_answered(exchange, fake):
    fake.script(provider="groq", fault="503")
    received, notes = exchange("groq", verbosity="low", fallbacks=["openrouter/m"])

    assert received["verbosity"] == "low"
    assert notes == []


@pytest.mark.parametrize("form", ["chat completions", "responses"])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_of_allowed_tools_the_others_are_not_offered(exchange, form, mode):
    tools = [tool(name) for name in ("clock", "weather", "map")]
    chosen = {
        "chat completions": {"allowed_tools": {"mode": mode, "tools": [tools[0], tools[2]]}},
        "responses": {
            "mode": mode,
            "tools": [{"type": "function", "name": name} for name in ("clock", "map")],
        },
    }[form]
    received, _ = exchange(tools=tools, tool_choice={"type": "allowed_tools", **chosen})

    assert [offered["function"]["name"] for offered in received["tools"]] == ["clock", "map"]
    assert received["tool_choice"] == mode


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter", "openai_compatible"])
@pytest.mark.parametrize("name", ["7days", "-x", "2_b"])
def test_tools_may_have_any_name_of_letters_digits_and_dashes(post, provider, name):
    called = post(provider, f"Call {name} _{name}", tools=[tool(name)]).json()["choices"][0]["message"]
    assert called["tool_calls"][0]["function"]["name"] == name
    (call,) = called["tool_calls"]
    messages = [HELLO, called, {"role": "tool", "tool_call_id": call["id"], "content": "9"}]

    choice = {"type": "function", "function": {"name": name}}
    answer = post(provider, tools=[tool(name)], tool_choice=choice, messages=messages)
    assert answer.status_code == 200, answer.text


def test_gemini_gets_names_that_it_accepts(exchange):
    received, _ = exchange("gemini", tools=[tool("7days"), tool("clock")])

    names = [declared["name"] for declared in received["tools"][0]["functionDeclarations"]]
    assert names == ["_7days", "clock"]


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max", "default"])
@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter", "openai_compatible"])
def test_every_effort_of_any_provider_is_accepted(exchange, provider, effort):
    exchange(provider, reasoning_effort=effort)


def test_marks_of_caches_on_tools_are_dropped(exchange):
    marked = tool("clock") | {"cache_control": {"type": "ephemeral"}}
    received, _ = exchange(tools=[marked])

    assert received["tools"] == [tool("clock")]


@pytest.mark.parametrize("provider", ["openrouter", "openai_compatible"])
def test_sound_and_documents_are_passed_on_in_their_order(exchange, provider):
    content = [{"type": "text", "text": "Listen:"}, SOUND, {"type": "text", "text": "Read:"}, PDF]

    assert exchange(provider, content)[0]["messages"] == [{"role": "user", "content": content}]


def test_gemini_gets_sound_and_documents_as_data(exchange):
    url = {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}
    (turn,) = exchange("gemini", [SOUND, PDF, url])[0]["contents"]

    assert turn["parts"] == [
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.org/a.pdf"}},
    ]


@pytest.mark.parametrize(
    ("asked", "need"),
    [
        ({"content": [SOUND]}, "audio"),
        ({"content": [PDF]}, "file"),
        ({"logit_bias": {"7": -100}}, "logit_bias"),
    ],
)
def test_targets_that_do_not_accept_what_an_answer_needs_are_passed_over(post, exchange, fake, asked, need):
    _, notes = exchange("groq", **asked, fallbacks=["openrouter/m"])
    assert notes == [f"groq/m was not called: it does not accept {need}."]
    assert [entry.provider for entry in fake.log()] == ["openrouter"]

    refused = post("groq", **asked)
    assert refused.status_code == 400
    assert need in refused.json()["error"]["message"]
    assert refused.json()["error"]["code"] == "unsupported_parameter"
    assert "Groq" in refused.json()["error"]["message"]


def test_sound_and_documents_are_reserved_and_counted(post, acme):
    acme.plan.update(tokens_per_month=9000)

    assert post("openrouter", [SOUND], max_tokens=10).status_code == 200
    settled_usage(acme)
    large = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 100_000}}
    assert post("openrouter", [large], max_tokens=10).status_code == 429
