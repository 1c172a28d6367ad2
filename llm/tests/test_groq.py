"""Requests to Groq, and what is specific to its responses."""

import json

import pytest

from llm import errors
from llm.canonical import Media, Message, Request, ToolCall, Usage
from llm.providers import ListedModel
from qa.fake_provider.server import fingerprint
from qa.testing.llm import CLOCK, KEY, LIMITS, WEATHER, asking


def sent(fake):
    return fake.log()[-1].body


def test_plain_question_is_sent_without_optional_fields(call, fake):
    completion = call(request=asking("Hi", system="Be brief."), stream=False).completion
    assert sent(fake) == {
        "model": "fake-large",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }
    assert completion.text.startswith("You said: Hi")
    assert (completion.finish, completion.raw_finish, completion.model_used) == ("stop", "stop", "fake-large")


def test_stream_requests_usage_and_reads_it_from_the_last_chunk(call, fake):
    completion = call().completion
    assert sent(fake)["stream"] is True
    assert sent(fake)["stream_options"] == {"include_usage": True}
    assert completion.usage == Usage(input=12, output=34, cached=5, reasoning=6)


def test_key_goes_in_one_header_and_nowhere_else(call, fake):
    call()
    entry = fake.log()[-1]
    assert entry.key == fingerprint(KEY)
    assert KEY not in f"{entry.path} {entry.headers} {json.dumps(entry.body)}"
    assert entry.headers["accept-encoding"] == "identity"


def test_options_use_groqs_names(call, fake):
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    request = asking(
        temperature=0.0,
        top_p=0.9,
        max_tokens=50,
        stop=("END", "STOP"),
        seed=7,
        json_schema=schema,
        reasoning_effort="low",
    )
    call(request=request)
    expected = {
        "temperature": 0.0,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "stop": ["END", "STOP"],
        "seed": 7,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "reasoning_effort": "low",
    }
    assert {name: sent(fake)[name] for name in expected} == expected


def test_unset_options_are_not_sent(call, fake):
    call(request=asking(json_mode=True))
    assert set(sent(fake)) == {"model", "messages", "stream", "stream_options", "response_format"}
    assert sent(fake)["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("get_time", {"type": "function", "function": {"name": "get_time"}}),
    ],
)
def test_tools_and_choice_are_written(call, fake, choice, expected):
    call(request=asking(tools=(WEATHER, CLOCK), tool_choice=choice, parallel_tool_calls=False))
    assert sent(fake)["tool_choice"] == expected
    assert sent(fake)["parallel_tool_calls"] is False
    assert [tool["function"]["name"] for tool in sent(fake)["tools"]] == ["get_weather", "get_time"]
    assert sent(fake)["tools"][0]["function"]["parameters"] == WEATHER.parameters
    assert "parameters" not in sent(fake)["tools"][1]["function"]


def test_calls_and_results_are_sent_back(call, fake):
    made = call(request=asking("get_weather and get_time, please", tools=(WEATHER, CLOCK))).completion
    assert [call.name for call in made.tool_calls] == ["get_weather", "get_time"]
    assert made.finish == "tool_calls"
    messages = (
        Message("user", "get_weather and get_time, please"),
        Message("assistant", tool_calls=made.tool_calls, opaque={"gemini": [{"at": 0}]}),
        *(Message("tool", "fine", tool_call_id=call.id) for call in made.tool_calls),
    )
    answer = call(request=Request(messages, tools=(WEATHER, CLOCK))).completion
    assert answer.text.startswith("You said: fine")
    _, assistant, first, second = sent(fake)["messages"]
    assert assistant["content"] is None
    ids = [call["id"] for call in assistant["tool_calls"]]
    assert ids == [first["tool_call_id"], second["tool_call_id"]]
    assert assistant["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert set(assistant) == {"role", "content", "tool_calls"}


def test_images_become_parts(call, fake):
    image = Media("image", "data:image/png;base64,AA==")
    request = Request((Message("user", "What is it?", parts=("What is it?", image)),))
    call(request=request)
    assert sent(fake)["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]


def test_partial_answer_is_continued_as_a_prefix(call, fake):
    whole = call(request=asking("Hi")).completion.text
    rest = call(request=asking("Hi").continuing(whole[:20])).completion.text
    assert sent(fake)["messages"][-1] == {"role": "assistant", "content": whole[:20]}
    assert whole[:20] + rest == whole


def test_text_that_is_not_valid_unicode_is_sent(call, fake):
    assert call(request=asking("half \ud83d of it")).completion
    assert sent(fake)["messages"][0]["content"] == "half ? of it"


def test_error_in_x_groq_is_raised(answers):
    outcome = answers('data: {"choices": [], "x_groq": {"id": "req_1", "error": "over_capacity"}}\n\n')
    assert type(outcome.error) is errors.BadReply
    assert outcome.error.detail == "over_capacity"


def test_usage_in_x_groq_is_read(answers):
    usage = '{"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}'
    body = 'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}\n\n'
    assert answers(f"{body}data: {usage}\n\n").completion.usage == Usage(input=3, output=4)


def test_active_models_are_listed(provider):
    groq = provider("groq")
    assert groq.models(LIMITS)[0] == ListedModel("fake-large", context_window=131_072)
    assert groq.listed_model({"id": "gone", "active": False}) is None


def test_call_of_another_model_is_sent_unchanged(call, fake):
    made = ToolCall("made-elsewhere", "get_time", "")
    messages = (
        Message("user", "x"),
        Message("assistant", "Wait.", tool_calls=(made,)),
        Message("user", "y"),
    )
    call(request=Request(messages))
    assert sent(fake)["messages"][1]["tool_calls"][0]["id"] == "made-elsewhere"
    assert sent(fake)["messages"][1]["content"] == "Wait."
