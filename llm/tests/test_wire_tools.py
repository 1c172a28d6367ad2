"""Tool calls in responses: in fragments, whole, and malformed."""

import json

import pytest

from llm import errors
from llm.canonical import ToolCall, ToolCallDelta
from llm.tests.bodies import DONE, calls, chunk, fragment
from qa.testing.llm import CLOCK, WEATHER, asking


def asked_with_tools(answers, *pieces, **options):
    return answers(*pieces, request=asking(tools=(WEATHER, CLOCK)), **options)


def test_arguments_come_in_fragments_of_interleaved_calls(answers):
    body = calls(fragment("", name="get_weather", index=0, id="a"))
    body += calls(fragment("", name="get_time", index=1, id="b"))
    body += calls(fragment('{"ci', index=0)) + calls(
        fragment("{", index=1), fragment('ty": "Oslo"}', index=0)
    )
    body += calls(fragment("}", index=1)) + chunk(None, "tool_calls") + DONE
    outcome = asked_with_tools(answers, body)
    expected = (ToolCall("a", "get_weather", '{"city": "Oslo"}'), ToolCall("b", "get_time", "{}"))
    assert outcome.completion.tool_calls == expected
    deltas = [event for event in outcome.events if isinstance(event, ToolCallDelta)]
    assert [(delta.id, delta.name) for delta in deltas if delta.id] == [
        ("a", "get_weather"),
        ("b", "get_time"),
    ]
    joined = ["".join(delta.arguments for delta in deltas if delta.index == index) for index in (0, 1)]
    assert joined == ['{"city": "Oslo"}', "{}"]


def test_calls_without_index_are_distinguished_by_id(answers):
    body = calls(fragment('{"city"', name="get_weather", id="a")) + calls(fragment(': "Oslo"}'))
    body += calls(fragment("{}", name="get_time", id="b")) + chunk(None, "tool_calls")
    completion = asked_with_tools(answers, body).completion
    assert [(call.id, call.arguments) for call in completion.tool_calls] == [
        ("a", '{"city": "Oslo"}'),
        ("b", "{}"),
    ]


def test_missing_ids_are_generated_and_differ(answers):
    body = calls(fragment("{}", name="get_time", index=0)) + calls(fragment("{}", name="get_time", index=1))
    first, second = asked_with_tools(answers, body + chunk(None, "tool_calls")).completion.tool_calls
    assert first.id
    assert second.id
    assert first.id != second.id


def test_id_and_name_repeated_in_every_fragment_make_one_call(answers):
    body = "".join(
        calls(fragment(text, name="get_weather", index=0, id="a")) for text in ('{"city"', ': "Oslo"', "}")
    )
    completion = asked_with_tools(answers, body + chunk(None, "tool_calls")).completion
    assert completion.tool_calls == (ToolCall("a", "get_weather", '{"city": "Oslo"}'),)


def test_one_id_for_two_calls_becomes_two(answers):
    body = calls(
        fragment("{}", name="get_time", index=0, id="a"), fragment("{}", name="get_time", index=1, id="a")
    )
    first, second = asked_with_tools(answers, body + chunk(None, "tool_calls")).completion.tool_calls
    assert first.id != second.id


def test_one_index_for_two_whole_calls_makes_two(answers):
    body = calls(fragment("{}", name="get_time", index=0, id="a")) + calls(
        fragment('{"city": "Oslo"}', name="get_weather", index=0, id="b")
    )
    completion = asked_with_tools(answers, body + chunk(None, "tool_calls")).completion
    assert [call.name for call in completion.tool_calls] == ["get_time", "get_weather"]


@pytest.mark.parametrize("arguments", ["", "{}", "null", None, '""', {}], ids=repr)
def test_call_without_arguments_has_an_empty_object(answers, arguments):
    body = calls(fragment(arguments, name="get_time", index=0, id="a")) + chunk(None, "tool_calls")
    assert asked_with_tools(answers, body).completion.tool_calls == (ToolCall("a", "get_time", "{}"),)


@pytest.mark.parametrize(
    "arguments", ['"{\\"city\\": \\"Oslo\\"}"', {"city": "Oslo"}], ids=["encoded", "object"]
)
def test_arguments_encoded_twice_or_not_at_all_are_read(answers, arguments):
    body = calls(fragment(arguments, name="get_weather", index=0, id="a")) + chunk(None, "tool_calls")
    (made,) = asked_with_tools(answers, body).completion.tool_calls
    assert json.loads(made.arguments) == {"city": "Oslo"}


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", "Oslo", '"Oslo"'])
def test_arguments_that_are_not_an_object_are_a_bad_reply(answers, arguments):
    body = calls(fragment(arguments, name="get_weather", index=0, id="a")) + chunk(None, "tool_calls")
    assert type(asked_with_tools(answers, body).error) is errors.BadReply


def test_arguments_cut_by_the_token_limit_are_passed_on_unchanged(answers):
    body = calls(fragment('{"city": ', name="get_weather", index=0, id="a")) + chunk(None, "length")
    completion = asked_with_tools(answers, body).completion
    assert (completion.finish, completion.tool_calls[0].arguments) == ("length", '{"city": ')


def test_call_of_a_tool_never_offered_is_a_bad_reply(answers):
    body = calls(fragment("{}", name="format_disk", index=0, id="a")) + chunk(None, "tool_calls")
    outcome = asked_with_tools(answers, chunk("Sure. ") + body)
    assert type(outcome.error) is errors.BadReply
    assert outcome.text == "Sure. "


def test_finish_stop_with_calls_means_tool_calls(answers):
    body = calls(fragment("{}", name="get_time", index=0, id="a")) + chunk(None, "stop")
    assert asked_with_tools(answers, body).completion.finish == "tool_calls"


def test_old_function_call_is_a_tool_call(answers):
    body = chunk(delta={"function_call": {"name": "get_time", "arguments": "{"}})
    body += chunk(delta={"function_call": {"arguments": "}"}}) + chunk(None, "function_call")
    (made,) = asked_with_tools(answers, body).completion.tool_calls
    assert (made.name, made.arguments) == ("get_time", "{}")
