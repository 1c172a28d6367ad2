"""The official Python package works by changing its base URL and key."""

from __future__ import annotations

import json

import pytest
from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel

from qa.fake_provider.answers import WORDS
from qa.testing.tenants import issue

HELLO = [{"role": "user", "content": "Hello"}]
ANSWER = f"You said: Hello {WORDS}"


def function(name: str, **properties: str) -> dict:
    """Return a tool whose arguments have the given JSON types."""
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


WEATHER, CLOCK = function("weather", city="string"), function("clock")


class Place(BaseModel):
    city: str
    people: int


def asked(fake) -> dict:
    """Return the last request body that the provider received."""
    return fake.log()[-1].body


# -- plain and streamed ---------------------------------------------------------------


def test_a_question_is_answered(openai_client):
    answer = openai_client.chat.completions.create(model="groq/some-model", messages=HELLO)

    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", ANSWER)
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert answer.object == "chat.completion"
    assert answer.model == "groq/some-model"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        12,
        34,
        46,
    )
    assert answer.usage.prompt_tokens_details.cached_tokens == 5
    assert answer.usage.completion_tokens_details.reasoning_tokens == 6
    assert answer._request_id


def test_a_stream_has_the_answer_and_ends_with_its_usage(openai_client):
    stream = openai_client.chat.completions.create(
        model="groq/some-model", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )

    *chunks, finish, usage = stream
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == ANSWER
    assert {chunk.choices[0].finish_reason for chunk in chunks} == {None}
    assert finish.choices[0].finish_reason == "stop"
    assert {chunk.usage for chunk in [*chunks, finish]} == {None}
    assert (usage.choices, usage.usage.total_tokens) == ([], 46)
    assert len({chunk.id for chunk in [*chunks, finish, usage]}) == 1


def test_a_stream_has_no_usage_unless_it_is_requested(openai_client):
    stream = openai_client.chat.completions.create(model="groq/some-model", messages=HELLO, stream=True)

    *_, last = stream
    assert last.choices[0].finish_reason == "stop"
    assert "usage" not in last.model_fields_set


def test_the_stream_helper_of_the_package_collects_the_answer(openai_client):
    with openai_client.chat.completions.stream(model="groq/some-model", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_a_key_can_be_sent_as_x_api_key(openai_client, openai_key):
    headers = {"X-API-Key": openai_key}
    with OpenAI(base_url=openai_client.base_url, api_key="unused", default_headers=headers) as client:
        assert client.models.list().data


# -- parameters -------------------------------------------------------------------------


def test_parameters_reach_the_provider(openai_client, fake):
    openai_client.chat.completions.create(
        model="groq/some-model",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            *HELLO,
        ],
        temperature=0.3,
        top_p=0.9,
        seed=7,
        max_completion_tokens=20,
        stop=["calm"],
        reasoning_effort="low",
    )

    body = asked(fake)
    assert body["messages"] == [{"role": "system", "content": "Be brief.\n\nBe kind."}, *HELLO]
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.3, 0.9, 7)
    assert (body["max_completion_tokens"], body["stop"]) == (20, ["calm"])
    assert body["reasoning_effort"] == "low"


def test_an_answer_ends_before_a_stop_word(openai_client):
    answer = openai_client.chat.completions.create(model="groq/some-model", messages=HELLO, stop=" calm")

    assert answer.choices[0].message.content == "You said: Hello and here are some"
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_its_token_limit(openai_client, name):
    answer = openai_client.chat.completions.create(model="groq/some-model", messages=HELLO, **{name: 2})

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said: ", "length")


def test_the_plan_limits_every_answer(openai_client, fake, acme):
    openai_client.chat.completions.create(model="groq/some-model", messages=HELLO, max_tokens=1_000_000)

    assert asked(fake)["max_completion_tokens"] == acme.plan.max_output_tokens


def test_images_reach_the_provider(openai_client, fake):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "What is this?"}, picture]

    openai_client.chat.completions.create(
        model="openai_compatible/some-model", messages=[{"role": "user", "content": content}]
    )
    assert asked(fake)["messages"] == [{"role": "user", "content": content}]


def test_parameters_that_only_concern_openai_are_ignored(openai_client, fake):
    openai_client.chat.completions.create(
        model="groq/some-model",
        messages=[{"role": "user", "content": "Hello", "name": "ann"}],
        user="u-1",
        metadata={"team": "a"},
        service_tier="flex",
        prompt_cache_key="k",
        safety_identifier="s",
        n=1,
        store=False,
        logprobs=False,
        frequency_penalty=0,
    )
    assert not {"user", "metadata", "service_tier", "prompt_cache_key", "n", "store"} & asked(fake).keys()


# -- tools ------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter"])
def test_a_tool_is_called_and_its_result_answered(openai_client, fake, provider):
    model = f"{provider}/some-model"
    messages = [{"role": "user", "content": "What does weather say?"}]
    first = openai_client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])

    (choice,) = first.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}

    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    second = openai_client.chat.completions.create(
        model=model, messages=[*messages, choice.message, result], tools=[WEATHER]
    )
    assert "sunny" in second.choices[0].message.content


def test_parallel_calls_stream_in_fragments(openai_client):
    with openai_client.chat.completions.stream(
        model="groq/some-model",
        messages=[{"role": "user", "content": "Ask weather and clock"}],
        tools=[WEATHER, CLOCK],
        parallel_tool_calls=True,
    ) as stream:
        fragments = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        choice = stream.get_final_completion().choices[0]

    assert len(fragments) > 2
    assert choice.finish_reason == "tool_calls"
    assert [
        (call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls
    ] == [
        ("weather", {"city": "Paris"}),
        ("clock", {}),
    ]
    assert len({call.id for call in choice.message.tool_calls}) == 2


def test_a_call_without_arguments_has_an_empty_object(openai_client, fake):
    call = {"index": 0, "id": "call_9", "type": "function", "function": {"name": "clock", "arguments": ""}}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    fake.script(raw={"pieces": [f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"]})

    answer = openai_client.chat.completions.create(model="groq/some-model", messages=HELLO, tools=[CLOCK])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.id, call.function.arguments) == ("call_9", "{}")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("none", "none"),
        ("required", "required"),
        (
            {"type": "function", "function": {"name": "clock"}},
            {"type": "function", "function": {"name": "clock"}},
        ),
    ],
)
def test_a_tool_choice_reaches_the_provider(openai_client, fake, choice, sent):
    openai_client.chat.completions.create(
        model="groq/some-model",
        messages=HELLO,
        tools=[WEATHER, CLOCK],
        tool_choice=choice,
        parallel_tool_calls=False,
    )
    assert (asked(fake)["tool_choice"], asked(fake)["parallel_tool_calls"]) == (sent, False)


def test_geminis_thought_signatures_are_sent_back(openai_client, fake):
    messages = [{"role": "user", "content": "Ask weather"}]
    with openai_client.chat.completions.stream(
        model="gemini/some-model", messages=messages, tools=[WEATHER]
    ) as stream:
        said = stream.get_final_completion().choices[0].message

    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "sunny"}
    openai_client.chat.completions.create(
        model="gemini/some-model", messages=[*messages, said.model_dump(), result], tools=[WEATHER]
    )
    (mark,) = said.provider_details["gemini"]
    (part,) = asked(fake)["contents"][1]["parts"]
    assert part["thoughtSignature"] == mark["thoughtSignature"]


def test_openrouters_reasoning_details_are_sent_back(openai_client, fake):
    details = [{"type": "reasoning.text", "text": "Let me think.", "signature": "sig", "index": 0}]
    message = {
        "role": "assistant",
        "content": "Yes.",
        "reasoning": "Let me think.",
        "reasoning_details": details,
    }
    body = {"model": "m", "choices": [{"index": 0, "delta": message, "finish_reason": "stop"}]}
    fake.script(raw={"pieces": ["data: " + json.dumps(body) + "\n\ndata: [DONE]\n\n"]})
    said = (
        openai_client.chat.completions.create(model="openrouter/some-model", messages=HELLO)
        .choices[0]
        .message
    )
    assert said.reasoning == "Let me think."

    fake.reset()
    openai_client.chat.completions.create(
        model="openrouter/some-model", messages=[*HELLO, said, {"role": "user", "content": "Sure?"}]
    )
    assert asked(fake)["messages"][1]["reasoning_details"] == details


# -- JSON -------------------------------------------------------------------------------


def test_json_mode_returns_an_object(openai_client):
    answer = openai_client.chat.completions.create(
        model="groq/some-model", messages=HELLO, response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content) == {"answer": "Hello"}


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter"])
def test_an_answer_follows_its_json_schema(openai_client, provider):
    answer = openai_client.chat.completions.parse(
        model=f"{provider}/some-model", messages=HELLO, response_format=Place
    )
    assert answer.choices[0].message.parsed == Place(city="Paris", people=1)


def test_arguments_are_parsed_by_the_schema_of_their_tool(openai_client):
    answer = openai_client.chat.completions.parse(
        model="groq/some-model",
        messages=[{"role": "user", "content": "Call Place"}],
        tools=[pydantic_function_tool(Place)],
    )
    assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Place(city="Paris", people=1)


# -- models -----------------------------------------------------------------------------


def test_default_is_the_servers_route(openai_client):
    answer = openai_client.chat.completions.create(model="default", messages=HELLO)

    assert answer.model == "groq/groq-model"


def test_default_is_the_tenants_route_where_it_has_one(openai_client, acme):
    acme.update(route=["gemini/own-choice"])

    answer = openai_client.chat.completions.create(model="default", messages=HELLO)
    assert answer.model == "gemini/own-choice"


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
        ("openrouter-model", "openrouter/openrouter-model"),
        ("gemini", "gemini/gemini-model"),
        ("openrouter/vendor/model:free", "openrouter/vendor/model:free"),
    ],
)
def test_a_model_can_be_named_in_short_or_in_full(openai_client, name, used):
    assert openai_client.chat.completions.create(model=name, messages=HELLO).model == used


def test_a_fallback_answers_and_is_named(openai_client, fake):
    answer = openai_client.chat.completions.create(
        model="groq/fault-404",
        messages=HELLO,
        extra_body={"fallbacks": ["gemini/fault-404", "openrouter/good"]},
    )

    assert answer.model == "openrouter/good"
    assert [entry.model for entry in fake.log()] == ["fault-404", "fault-404", "good"]


def test_models_are_listed_and_retrieved_by_names_with_slashes(openai_client):
    names = [model.id for model in openai_client.models.list()]

    assert names[:3] == ["default", "groq/groq-model", "openrouter/openrouter-model"]
    assert "openrouter/openai/gpt-oss-120b" in names
    assert "groq/llama-3.3-70b-versatile" not in names  # retired
    model = openai_client.models.retrieve("openrouter/openai/gpt-oss-120b")
    assert (model.id, model.owned_by) == ("openrouter/openai/gpt-oss-120b", "openrouter")


def test_a_key_sees_only_the_models_it_may_use(openai_client, acme, alice):
    key = issue(acme, alice, scopes=["messages:send"], allowed_models=["groq/groq-model"]).secret
    names = [model.id for model in openai_client.with_options(api_key=key).models.list()]
    assert names == ["groq/groq-model"]
