"""What clients send back of a conversation is used or dropped, never refused."""

from __future__ import annotations

import json

import pytest
import requests

from qa.fake_provider.server import FakeProvider

HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Nine."}
DETAILS = [{"type": "reasoning.text", "text": "Hm.", "index": 0}]


@pytest.fixture
def send(openai_server, fake: FakeProvider, openai_key):
    """Return a function that sends a completion request and returns what the provider received of it."""

    def send(*messages: dict, provider: str = "groq", **body) -> dict:
        response = requests.post(
            f"{openai_server.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {openai_key}"},
            json={"model": f"{provider}/some-model", "messages": messages, **body},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        return fake.log()[-1].body

    return send


@pytest.mark.parametrize(
    "echoed",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "reasoning_details": DETAILS},
        {"reasoning_content": None, "reasoning_details": None, "thinking_blocks": None, "images": None},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]},
        {"provider_specific_fields": {"refusal": None, "reasoning_content": "Hm."}},
        {"cache_control": {"type": "ephemeral"}},
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "index": 0}]},
        {"id": "msg_1", "created_at": 17, "status": "completed", "type": "message", "object": "message"},
        {"refusal": None, "annotations": [], "audio": None, "function_call": None, "parsed": {"a": [1]}},
        {"additional_kwargs": {}, "response_metadata": {"model": "x"}, "usage_metadata": {"total": 2}},
        {"extra_content": {"google": {"thought_signature": "x"}}, "finish_reason": "stop", "index": 0},
        {"citations": ["https://example.org"], "prefix": False, "weight": 1, "providerMetadata": {}},
        {"a field of next year": {"deeply": [{"nested": None}]}},
    ],
)
@pytest.mark.parametrize("in_tool_loop", [False, True], ids=["answer", "tool call"])
def test_fields_that_clients_add_to_an_answer_are_dropped(send, echoed, in_tool_loop):
    answer = {"role": "assistant", "content": "Hi.", **({"tool_calls": [CALL]} if in_tool_loop else {})}
    following = [RESULT] if in_tool_loop else [HELLO]

    received = send(HELLO, answer | echoed, *following, tools=[CLOCK])["messages"]
    assert received == [HELLO, answer, *following]


@pytest.mark.parametrize("role", ["system", "developer", "user", "tool"])
def test_fields_that_clients_add_to_other_messages_are_dropped(send, role):
    extra = {
        "id": "m1",
        "cache_control": {"type": "ephemeral"},
        "createdAt": "now",
        "images": [],
        "mood": "x",
    }
    said = {
        "tool": RESULT | {"name": "clock", "is_error": False, "artifact": {}, "status": "success"},
        "user": {"role": "user", "content": "Hi."},
    }.get(role, {"role": role, "content": "Be brief."})
    before = [HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}] if role == "tool" else []

    received = send(*before, said | extra, HELLO, tools=[CLOCK])["messages"]
    kept = RESULT if role == "tool" else said | ({"role": "system"} if role == "developer" else {})
    assert received == [*before, kept, HELLO]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi."}], "Hi."),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "Hi."},
            ],
            "Hi.",
        ),
        ([{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "Hi.", "cache_control": {}}], "Hi."),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Hi."}], "Hi."),
        (
            [{"type": "text", "text": "Hi."}, {"type": "tool_use", "id": "1", "name": "clock", "input": {}}],
            "Hi.",
        ),
        ([{"type": "text", "text": "One."}, {"type": "refusal", "refusal": "Two."}], "One.\nTwo."),
        (
            [
                {"type": "text", "text": "Hi.", "annotations": []},
                {"type": "image_url", "image_url": {}},
                None,
            ],
            "Hi.",
        ),
    ],
)
def test_parts_of_an_answer_without_text_are_dropped(send, content, text):
    received = send(HELLO, {"role": "assistant", "content": content}, HELLO)["messages"]

    assert received == [HELLO, {"role": "assistant", "content": text}, HELLO]


@pytest.mark.parametrize(
    "empty",
    [
        {"content": None, "tool_calls": []},
        {"content": None, "tool_calls": None, "reasoning_content": "Hm."},
        {"content": ""},
        {"content": []},
        {"content": [{"type": "thinking", "thinking": "Hm."}]},
        {"content": None, "refusal": None},
    ],
)
def test_an_answer_that_was_empty_is_left_out(send, empty):
    assert send(HELLO, {"role": "assistant", **empty}, HELLO)["messages"] == [HELLO, HELLO]


def test_a_refusal_is_sent_back_as_what_the_model_said(send):
    received = send(HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO)["messages"]

    assert received[1] == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("openai_compatible", {"reasoning_content": "Hm."}),
        ("openrouter", {"reasoning": "Hm."}),
        ("groq", {}),
    ],
)
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "parts"])
def test_reasoning_returns_to_models_that_need_it_between_tool_calls(send, provider, expected, field):
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Look."}]
    echoed = {"content": parts} if field == "parts" else {"content": "Look.", field: "Hm."}
    called = {"role": "assistant", "tool_calls": [CALL], **echoed}

    received = send(HELLO, called, RESULT, provider=provider, tools=[CLOCK])["messages"]
    assert received[1] == {"role": "assistant", "content": "Look.", "tool_calls": [CALL], **expected}


def test_reasoning_details_of_openrouter_return_to_openrouter_alone(send):
    called = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_details": DETAILS}

    assert send(HELLO, called, RESULT, provider="openrouter")["messages"][1]["reasoning_details"] == DETAILS
    assert "reasoning_details" not in send(HELLO, called, RESULT, provider="openai_compatible")["messages"][1]


@pytest.mark.parametrize("arguments", ["", None, {}, {"zone": "UTC"}, '{"zone": "UTC"'])
def test_arguments_of_calls_are_sent_back_in_the_form_of_the_providers(send, arguments):
    call = {"id": "call_1", "index": 0, "function": {"name": "clock", "arguments": arguments}}
    received = send(HELLO, {"role": "assistant", "tool_calls": [call]}, RESULT)["messages"]

    sent = received[1]["tool_calls"][0]["function"]["arguments"]
    assert sent == (json.dumps(arguments) if isinstance(arguments, dict) else arguments or "{}")


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_the_result_of_a_function_that_returns_nothing_is_empty(send, nothing):
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    received = send(HELLO, called, RESULT | {"content": nothing})["messages"]

    assert received[-1] == RESULT | {"content": ""}


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter", "openai_compatible"])
def test_a_request_of_system_messages_alone_is_answered(send, provider):
    received = send({"role": "system", "content": "Write a haiku."}, provider=provider)

    if provider == "gemini":
        assert received["contents"] == [{"role": "user", "parts": [{"text": "Write a haiku."}]}]
        assert "systemInstruction" not in received
    else:
        assert received["messages"] == [{"role": "system", "content": "Write a haiku."}]


@pytest.mark.parametrize("provider", ["groq", "openrouter", "openai_compatible"])
def test_names_of_authors_are_passed_on_where_they_are_accepted(send, provider):
    ada, bot = (
        {"role": "user", "name": "ada", "content": "Hi."},
        {"role": "assistant", "name": "bot", "content": "Yes?"},
    )

    received = send(ada, bot, HELLO, provider=provider)["messages"]
    names = [message.get("name") for message in received]
    assert names == ([None, None, None] if provider == "groq" else ["ada", "bot", None])


def test_texts_and_images_stay_in_their_order(send):
    def image(number: int) -> dict:
        return {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,AAA{number}", "detail": "low"},
        }

    def text(number: int) -> dict:
        return {"type": "text", "text": f"Picture {number}:"}

    parts = [text(1), image(1), text(2), image(2), image(3)]
    message = {"role": "user", "content": parts}
    for provider in ("groq", "openrouter", "openai_compatible"):
        assert send(message, provider=provider)["messages"] == [message]
    ((*texts_and_images,),) = (turn["parts"] for turn in send(message, provider="gemini")["contents"])
    assert [next(iter(part)) for part in texts_and_images] == [
        "text",
        "inlineData",
        "text",
        "inlineData",
        "inlineData",
    ]
    assert [part["inlineData"]["data"][-1] for part in texts_and_images if "inlineData" in part] == [
        "1",
        "2",
        "3",
    ]


def test_schemas_of_tools_are_passed_on_unchanged(send):
    schema: dict = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1, "multipleOf": 10**30}
    for depth in range(50):
        schema = {"type": "object", "properties": {f"$level.{depth}": schema}, "$defs": {"\0": {}}}
    tool = {"type": "function", "function": {"name": "clock", "description": "", "parameters": schema}}

    assert send(HELLO, tools=[tool])["tools"] == [tool]


def test_half_of_a_surrogate_pair_becomes_a_replacement_character(send):
    assert send({"role": "user", "content": "cut \ud83d"})["messages"][0]["content"] == "cut \ufffd"
