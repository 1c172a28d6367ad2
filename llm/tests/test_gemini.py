"""Requests to Gemini, and thought signatures that must be sent back unchanged."""

import json

import pytest

from llm import errors
from llm.canonical import Media, Message, Request, ToolCall
from llm.providers import ListedModel
from qa.testing.llm import CLOCK, KEY, LIMITS, WEATHER, asking


def sent(fake):
    return fake.log()[-1].body


def contents(call, fake, *messages):
    """Return the turns that `messages` become in the request."""
    fake.script(provider="gemini")
    call("gemini", request=Request(messages, tools=(WEATHER, CLOCK)))
    return sent(fake)["contents"]


def text(role, content):
    return {"role": role, "parts": [{"text": content}]}


@pytest.mark.parametrize(
    ("stream", "method"), [(True, "streamGenerateContent?alt=sse"), (False, "generateContent")]
)
def test_request_goes_to_the_method_with_the_key_in_a_header(call, fake, stream, method):
    completion = call("gemini", request=asking("Hi", system="Be brief."), stream=stream).completion
    entry = fake.log()[-1]
    assert entry.path == f"/gemini/v1beta/models/fake-large:{method}"
    assert entry.key is not None
    assert "authorization" not in entry.headers
    assert KEY not in f"{entry.path} {entry.headers} {entry.body}"
    assert entry.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [text("user", "Hi")],
    }
    assert completion.text.startswith("You said: Hi")
    assert completion.response_id.startswith("resp-")


def test_model_name_is_escaped_in_the_path(call, fake):
    call("gemini", "models/a/../b?key=x")
    assert fake.log()[-1].path.startswith("/gemini/v1beta/models/a%2F..%2Fb%3Fkey%3Dx:")


def test_options_use_geminis_names(call, fake):
    request = asking(
        temperature=0.5,
        top_p=0.9,
        max_tokens=50,
        stop=("END",),
        seed=7,
        json_schema={"name": "a", "schema": {"type": "object"}},
        reasoning_effort="low",
    )
    call("gemini", request=request)
    assert sent(fake)["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "maxOutputTokens": 50,
        "stopSequences": ["END"],
        "seed": 7,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"thinkingLevel": "low"},
    }


def test_json_mode_is_a_mime_type(call, fake):
    call("gemini", request=asking(json_mode=True))
    assert sent(fake)["generationConfig"] == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("get_time", {"mode": "ANY", "allowedFunctionNames": ["get_time"]}),
    ],
)
def test_tools_and_choice_are_written(call, fake, choice, expected):
    call("gemini", request=asking(tools=(WEATHER, CLOCK), tool_choice=choice))
    (tools,) = sent(fake)["tools"]
    weather, clock = tools["functionDeclarations"]
    assert weather["parametersJsonSchema"] == WEATHER.parameters
    assert set(clock) == {"name", "description"}
    assert sent(fake)["toolConfig"] == {"functionCallingConfig": expected}


def test_consecutive_messages_of_one_role_become_one_turn(call, fake):
    turns = contents(
        call,
        fake,
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "c"),
        Message("user", "d"),
    )
    assert turns == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        text("model", "c"),
        text("user", "d"),
    ]


def test_user_speaks_first_and_last_and_no_turn_is_empty(call, fake):
    turns = contents(
        call, fake, Message("assistant", "Welcome!"), Message("user", ""), Message("assistant", "Hm?")
    )
    assert turns[0] == text("user", "Hello.")
    assert turns[1] == {"role": "model", "parts": [{"text": "Welcome!"}, {"text": "Hm?"}]}
    assert turns[2] == text("user", "Continue.")


def test_images_become_data_or_files(call, fake):
    images = [Media("image", url) for url in ("data:image/png;base64,AA==", "https://example.org/cat.png")]
    (turn,) = contents(call, fake, Message("user", "What?", parts=("What?", *images)))
    assert turn["parts"][1:] == [
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"fileData": {"fileUri": "https://example.org/cat.png"}},
    ]


# -- Tools and signatures -----------------------------------------------------------


def test_calls_are_sent_back_with_their_signature_and_all_results_in_one_turn(call, fake):
    request = asking("get_weather and get_time, please", tools=(WEATHER, CLOCK))
    made = call("gemini", request=request).completion
    assert [call.name for call in made.tool_calls] == ["get_weather", "get_time"]
    assert made.finish == "tool_calls"
    signature = made.opaque["gemini"][0]["thoughtSignature"]
    messages = (
        *request.messages,
        Message("assistant", tool_calls=made.tool_calls, opaque=made.opaque),
        *(Message("tool", "fine", tool_call_id=call.id) for call in made.tool_calls),
    )
    assert call("gemini", request=Request(messages, tools=(WEATHER, CLOCK))).completion.text
    _, model, results = sent(fake)["contents"]
    ids = [call.id for call in made.tool_calls]
    assert model["parts"] == [
        {
            "functionCall": {"id": ids[0], "name": "get_weather", "args": {"city": "Paris"}},
            "thoughtSignature": signature,
        },
        {"functionCall": {"id": ids[1], "name": "get_time", "args": {}}},
    ]
    assert results["role"] == "user"
    assert [part["functionResponse"] for part in results["parts"]] == [
        {"id": ids[0], "name": "get_weather", "response": {"output": "fine"}},
        {"id": ids[1], "name": "get_time", "response": {"output": "fine"}},
    ]


def test_signatures_on_text_and_empty_parts_are_sent_back_in_place(answers, call, fake):
    parts = [
        {"text": "I look. ", "thoughtSignature": "sig-1+/="},
        {"text": "Really."},
        {"functionCall": {"id": "g1", "name": "get_time", "args": {}}, "thoughtSignature": "sig_2-"},
        {"text": "", "thoughtSignature": "sig3"},
    ]
    stream = "".join(
        f"data: {json.dumps({'candidates': [{'content': {'parts': [part]}}]})}\r\n\r\n" for part in parts
    )
    stream += 'data: {"candidates": [{"finishReason": "STOP"}]}\r\n\r\n'
    made = answers(stream, name="gemini", request=asking(tools=(CLOCK,))).completion
    assert (made.text, made.finish, made.tool_calls[0].id) == ("I look. Really.", "tool_calls", "g1")
    reply = Message("assistant", made.text, tool_calls=made.tool_calls, opaque=made.opaque)
    turns = contents(call, fake, Message("user", "x"), reply, Message("tool", "noon", tool_call_id="g1"))
    assert turns[1]["parts"] == [
        parts[0],
        parts[1],
        {"functionCall": {"id": "g1", "name": "get_time", "args": {}}, "thoughtSignature": "sig_2-"},
        parts[3],
    ]


def test_history_of_another_model_gets_the_placeholder_on_its_first_call(call, fake):
    calls = (ToolCall("a", "get_time"), ToolCall("b", "get_weather", '{"city": "Oslo"}'))
    reply = Message("assistant", "Wait.", tool_calls=calls, opaque={"openrouter": [{"type": "x"}]})
    results = [Message("tool", "ok", tool_call_id=call.id) for call in calls]
    turns = contents(call, fake, Message("user", "x"), reply, *results)
    spoken, first, second = turns[1]["parts"]
    assert spoken == {"text": "Wait."}
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second


def test_signatures_of_missing_parts_are_omitted(call, fake):
    opaque = {
        "gemini": [{"at": 99, "thoughtSignature": "s"}, {"at": 99, "call": "gone", "thoughtSignature": "t"}]
    }
    turns = contents(
        call, fake, Message("user", "x"), Message("assistant", "cut", opaque=opaque), Message("user", "y")
    )
    assert turns[1]["parts"] == [{"text": "cut", "thoughtSignature": "s"}]


def test_rejected_signatures_are_removed_and_the_call_is_sent_again(call, fake):
    signed = Message("assistant", "a", opaque={"gemini": [{"at": 1, "thoughtSignature": "bad"}]})
    request = Request((Message("user", "x"), signed, Message("user", "y")))
    rejection = json.dumps({"error": {"code": 400, "message": "Corrupted thought signature."}})
    fake.script(provider="gemini", raw={"status": 400, "pieces": [rejection]})
    error = call("gemini", request=request).error
    assert type(error) is errors.BadRequest
    first, second = (entry.body["contents"][1]["parts"] for entry in fake.log())
    assert first == [{"text": "a", "thoughtSignature": "bad"}]
    assert second == [{"text": "a"}]


def test_other_errors_are_not_sent_again(call, fake):
    call("gemini", "fault-400")
    assert len(fake.log()) == 1


@pytest.mark.parametrize("arguments", ["", "not json", "[1]", "null"])
def test_arguments_that_are_not_an_object_become_an_empty_one(call, fake, arguments):
    reply = Message("assistant", tool_calls=(ToolCall("a", "get_time", arguments),))
    turns = contents(call, fake, Message("user", "x"), reply, Message("tool", "ok", tool_call_id="a"))
    assert turns[1]["parts"][0]["functionCall"]["args"] == {}


def test_models_are_listed_from_all_pages(provider, fake):
    first = {"models": [{"name": "models/a", "inputTokenLimit": 10}], "nextPageToken": "p 2"}
    second = {
        "models": [
            {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
            {"name": "models/b", "supportedGenerationMethods": ["generateContent"]},
        ]
    }
    for page in (second, first):
        fake.script(provider="gemini", times=1, raw={"pieces": [json.dumps(page)]})
    assert provider("gemini").models(LIMITS) == [ListedModel("a", 10), ListedModel("b")]
    assert fake.log()[-1].path.endswith("&pageToken=p%202")


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "One. "}, {"text": "Two.", "thoughtSignature": "s"}],
        [{"text": "One. "}, {"text": "Two. ", "thoughtSignature": "s"}, {"text": "Three."}],
        [{"text": "One. ", "thoughtSignature": "s"}, {"text": "Two.", "thoughtSignature": "t"}],
        [{"text": "One."}, {"text": "", "thoughtSignature": "s"}],
        [{"text": "", "thoughtSignature": "s"}, {"text": "One."}],
        [{"text": "1 <"}, {"text": " 2", "thoughtSignature": "s"}],
        [{"text": "<thi"}, {"text": "ng>", "thoughtSignature": "s"}],
        [
            {"text": "One. "},
            {"functionCall": {"id": "g", "name": "get_time", "args": {}}, "thoughtSignature": "s"},
        ],
    ],
    ids=lambda parts: " ".join("signed" if "thoughtSignature" in part else "plain" for part in parts),
)
@pytest.mark.parametrize("stream", [True, False])
def test_text_with_a_signature_stays_apart_from_text_without(answers, call, fake, parts, stream):
    if stream:
        pieces = [{"candidates": [{"content": {"parts": [part]}}]} for part in parts]
        pieces.append({"candidates": [{"finishReason": "STOP"}]})
        body = "".join(f"data: {json.dumps(piece)}\r\n\r\n" for piece in pieces)
    else:
        body = json.dumps({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
    made = answers(body, name="gemini", stream=stream, request=asking(tools=(CLOCK,))).completion
    reply = Message("assistant", made.text, tool_calls=made.tool_calls, opaque=made.opaque)
    turns = contents(call, fake, Message("user", "x"), reply, Message("user", "y"))
    assert turns[1]["parts"] == parts


def test_signatures_that_were_stored_without_their_beginning_are_sent_back(call, fake):
    opaque = {"gemini": [{"at": 4, "thoughtSignature": "s"}, {"at": 6, "thoughtSignature": "t"}]}
    reply = Message("assistant", "One.Two.", opaque=opaque)
    turns = contents(call, fake, Message("user", "x"), reply, Message("user", "y"))
    assert turns[1]["parts"] == [
        {"text": "One.", "thoughtSignature": "s"},
        {"text": "Tw", "thoughtSignature": "t"},
        {"text": "o."},
    ]
