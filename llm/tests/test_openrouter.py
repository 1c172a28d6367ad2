"""Requests to OpenRouter, and what is specific to its responses."""

import json
from decimal import Decimal

import pytest

from llm.canonical import Message, Request, Usage
from llm.providers import ListedModel
from qa.testing.llm import CLOCK, LIMITS, asking


def details(*fragments, finish=None):
    delta = {"content": "", "reasoning_details": list(fragments)}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}]})}\n\n"


def test_usage_is_not_requested_and_includes_the_cost(call, fake):
    completion = call("openrouter").completion
    assert "stream_options" not in fake.log()[-1].body
    assert completion.usage == Usage(input=12, output=34, cached=5, reasoning=6, cost=Decimal("0.00042"))


@pytest.mark.parametrize("cost", [-1, "NaN", "Infinity", True, [], "free"])
def test_implausible_cost_is_none(answers, cost):
    body = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}], "usage": {"cost": cost}}
    assert answers(f"data: {json.dumps(body)}\n\n", name="openrouter").completion.usage.cost is None


def test_hosts_without_tools_are_excluded(call, fake):
    call("openrouter", request=asking(tools=(CLOCK,)))
    assert fake.log()[-1].body["provider"] == {"require_parameters": True}
    call("openrouter")
    assert "provider" not in fake.log()[-1].body


def test_reasoning_effort_has_its_own_field(call, fake):
    call("openrouter", request=asking(reasoning_effort="high"))
    body = fake.log()[-1].body
    assert body["reasoning"] == {"effort": "high"}
    assert "reasoning_effort" not in body


def test_reasoning_details_are_joined_and_sent_back_unchanged(answers, call, fake):
    body = details({"type": "reasoning.text", "text": "Let ", "index": 0, "format": "f"})
    body += details({"type": "reasoning.text", "text": "me see", "index": 0, "format": "f"})
    body += details({"type": "reasoning.text", "text": None, "signature": "s+/=", "index": 0, "format": "f"})
    body += details({"type": "reasoning.encrypted", "data": "xyz", "index": 1, "id": "r1"})
    tool = {"id": "c1", "function": {"name": "get_time", "arguments": "{}"}}
    body += (
        f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [tool]}, 'finish_reason': 'stop'}]})}\n\n"
    )
    made = answers(body, name="openrouter", request=asking(tools=(CLOCK,))).completion
    expected = [
        {"type": "reasoning.text", "text": "Let me see", "index": 0, "format": "f", "signature": "s+/="},
        {"type": "reasoning.encrypted", "data": "xyz", "index": 1, "id": "r1"},
    ]
    assert made.opaque == {"openrouter": expected}

    messages = (
        Message("user", "x"),
        Message("assistant", tool_calls=made.tool_calls, opaque=made.opaque),
        Message("tool", "noon", tool_call_id="c1"),
    )
    fake.reset()
    call("openrouter", request=Request(messages))
    assert fake.log()[-1].body["messages"][1]["reasoning_details"] == expected
    call("groq", request=Request(messages))
    assert "reasoning_details" not in fake.log()[-1].body["messages"][1]


def test_reasoning_details_of_a_whole_answer_are_kept(answers):
    detail = {"type": "reasoning.summary", "summary": "short"}
    message = {"content": "4", "reasoning_details": [detail, detail]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert answers(body, name="openrouter", stream=False).completion.opaque == {
        "openrouter": [detail, detail]
    }


def test_model_used_is_reported(answers):
    body = {
        "model": "mistral/small",
        "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}],
    }
    completion = answers(f"data: {json.dumps(body)}\n\n", name="openrouter").completion
    assert completion.model_used == "mistral/small"
    assert str(completion.target) == "openrouter/fake-large"


def test_prices_are_listed_per_million_tokens(provider):
    openrouter = provider("openrouter")
    expected = ListedModel("fake-large", 131_072, (Decimal("0.1"), Decimal("0.5")))
    assert openrouter.models(LIMITS)[0] == expected
    assert openrouter.listed_model({"id": "m", "pricing": {"prompt": "-1", "completion": "x"}}).prices is None
