"""Every request that can't be honoured is rejected in OpenAI's format: status, parameter and message."""

from __future__ import annotations

import json

import pytest
from rest_framework.test import APIClient

from qa.testing.tenants import issue, with_key

PATH = "/v1/chat/completions"
HELLO = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "clock"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


@pytest.fixture
def app(fake, acme, alice) -> APIClient:
    return with_key(issue(acme, alice, scopes=["messages:send"]).secret)


def send(app: APIClient, **body):
    return app.post(PATH, {"model": "groq/some-model", "messages": [HELLO], **body}, format="json")


def error(response, status: int = 400) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return body["error"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        # types
        ({"model": 5}, "model"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hello"]}, "messages.0"),
        ({"messages": [HELLO] * 2001}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "10"}, "max_completion_tokens"),
        ({"seed": "lucky"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [""]}, "stop.0"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"frequency_penalty": 2.1}, "frequency_penalty"),
        ({"presence_penalty": "high"}, "presence_penalty"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"fallbacks": "groq"}, "fallbacks"),
        ({"fallbacks": [5]}, "fallbacks.0"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stream": True, "stream_options": {"include_cost": True}}, "stream_options.include_cost"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "object"}}},
            "response_format.json_schema.schema",
        ),
        # tools
        ({"tools": TOOL}, "tools"),
        ({"tools": ["clock"]}, "tools.0"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools.0.function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "clock", "parameters": []}}]},
            "tools.0.function.parameters",
        ),
        ({"tools": [TOOL], "tool_choice": "clock"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"name": "x"}]},
                },
            },
            "tool_choice.allowed_tools",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": ["auto"], "tools": [TOOL]},
                },
            },
            "tool_choice.allowed_tools",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": "clock"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": ["x"]}}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, "tool_choice"),
        # messages
        ({"messages": [{"content": "Hello"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "content": "Hello"}]}, "messages.0.role"),
        ({"messages": [{"role": "narrator", "content": "Hello"}]}, "messages.0.role"),
        ({"messages": [{"role": "function", "name": "clock", "content": "9"}]}, "messages.0.role"),
        ({"messages": [{"role": "system", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {"text": "Hello"}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["Hello"]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages.0.content.0.input_audio.data",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            "messages.0.content.0.file.file_id",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "x"}}]}]},
            "messages.0.content.0.file.file_data",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages.0.content.0.image_url.url",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///"}}]}
                ]
            },
            "messages.0.content.0.image_url.url",
        ),
        ({"messages": [{"role": "user", "content": "Hello", "images": ["AA=="]}]}, "messages.0.images"),
        ({"messages": [HELLO, {"role": "assistant", "content": {"text": "x"}}]}, "messages.1.content"),
        (
            {"messages": [HELLO, {"role": "assistant", "audio": {"id": "a"}, "content": None}]},
            "messages.1.audio",
        ),
        ({"messages": [HELLO, {"role": "assistant"}]}, "messages.1.content"),
        ({"messages": [HELLO, {"role": "assistant", "tool_calls": CALL}]}, "messages.1.tool_calls"),
        ({"messages": [HELLO, {"role": "assistant", "tool_calls": [{}]}]}, "messages.1.tool_calls.0"),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "x", "function_call": {"name": "clock"}}]},
            "messages.1.function_call",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "x", "provider_details": "x"}]},
            "messages.1.provider_details",
        ),
        ({"messages": [HELLO, {"role": "tool", "content": "9"}]}, "messages.1.tool_call_id"),
        (
            {"messages": [HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "9"}]},
            "messages.1.tool_call_id",
        ),
        (
            {
                "messages": [
                    HELLO,
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1"},
                ]
            },
            "messages.2.content",
        ),
    ],
)
def test_an_invalid_request_names_the_parameter(app, fake, body, param):
    found = error(send(app, **body))

    assert (found["param"], found["type"]) == (param, "invalid_request_error")
    assert not fake.log()


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_parameter_is_named(app, name):
    body = {"model": "groq/some-model", "messages": [HELLO]}
    del body[name]

    found = error(app.post(PATH, body, format="json"))
    assert (found["param"], found["code"]) == (name, "required")


def test_an_unknown_parameter_is_named(app):
    found = error(send(app, temperture=1))

    assert (found["param"], found["code"]) == ("temperture", "unknown_field")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("web_search_options", {}),
        ("moderation", {"model": "x"}),
    ],
)
def test_unsupported_parameters_are_rejected(app, name, value):
    found = error(send(app, **{name: value}))

    assert (found["param"], found["code"]) == (name, "unsupported_parameter")


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [("functions", [{"name": "clock"}], "tools"), ("function_call", "auto", "tool_choice")],
)
def test_legacy_functions_get_advice(app, name, value, advice):
    found = error(send(app, **{name: value}))

    assert found["code"] == "unsupported_parameter"
    assert advice in found["message"]


def test_null_equals_absent(app):
    absent = [
        "stream",
        "temperature",
        "stop",
        "tools",
        "tool_choice",
        "n",
        "functions",
        "response_format",
        "seed",
    ]

    assert send(app, **dict.fromkeys([*absent, "stream_options", "max_tokens"])).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b'{"model": NaN}', 400),
        (b'"' + b"x" * (20 * 1024 * 1024) + b'"', 413),
        (b"[" * 100_000, 400),
    ],
)
def test_a_malformed_body_is_rejected(app, content, status):
    response = app.generic("POST", PATH, content, content_type="application/json")

    assert error(response, status)["type"] == "invalid_request_error"


def test_other_media_types_and_methods_are_rejected_in_the_same_format(app):
    error(app.generic("POST", PATH, b"model=x", content_type="application/x-www-form-urlencoded"), 415)
    error(app.get(PATH), 405)
    error(app.delete("/v1/models"), 405)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/embeddings", "/v1/chat/completions/chatcmpl-1"])
def test_the_rest_of_openais_api_is_not_found(app, path):
    found = error(app.post(path, {}, format="json"), 404)

    assert (found["type"], found["code"]) == ("not_found_error", "not_found")


def test_requests_without_a_key_are_rejected(db):
    response = APIClient().post(PATH, {}, format="json")

    assert error(response, 401)["type"] == "authentication_error"
    assert response["WWW-Authenticate"]


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "Basic ", ""])
def test_only_bearer_tokens_are_read(acme, alice, prefix):
    secret = issue(acme, alice, scopes=["messages:send"]).secret
    response = APIClient(HTTP_AUTHORIZATION=prefix + secret).get("/v1/models")

    assert response.status_code == (200 if prefix.lower() == "bearer " else 401)


def test_a_message_longer_than_the_plan_allows_is_rejected(app, acme):
    acme.plan.update(max_input_chars=10)

    assert send(app, messages=[{"role": "user", "content": "x" * 10}]).status_code == 200
    found = error(send(app, messages=[HELLO, {"role": "user", "content": "x" * 11}]))
    assert found["param"] == "messages.1.content"


@pytest.mark.parametrize(
    "details",
    [
        {"gemini": "x"},
        {"gemini": ["x"]},
        {"gemini": [{}]},
        {"gemini": [{"at": "x"}]},
        {"gemini": [{"at": -5, "thoughtSignature": "x"}]},
        {"gemini": [{"at": 0, "call": ["x"], "thoughtSignature": {}}]},
        {"openrouter": "x"},
        {"unknown": 5},
    ],
)
@pytest.mark.parametrize("provider", ["gemini", "openrouter", "groq"])
def test_manipulated_provider_details_cause_no_error(app, settings, provider, details):
    settings.LLM_PROVIDERS["gemini"]["api_key"] = "test-key"
    said = {"role": "assistant", "content": "Hi.", "tool_calls": [CALL], "provider_details": details}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "9"}
    response = send(app, model=f"{provider}/some-model", messages=[HELLO, said, result])

    assert response.status_code in (200, 400), response.content


def test_a_completion_in_process_equals_one_over_http(app):
    streamed = b"".join(send(app, stream=True).streaming_content).decode()
    events = [json.loads(event.removeprefix("data: ")) for event in streamed.split("\n\n")[:-2]]

    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert text == send(app).json()["choices"][0]["message"]["content"]
