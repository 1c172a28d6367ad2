"""What may come over the wire of a stream, byte for byte, over real sockets.

Each case is a body as some provider sends it; most are told once for OpenAI's
dialect and, where it differs, once for Gemini.
"""

import gzip
import json
from decimal import Decimal

import pytest

from llm import errors
from llm.canonical import Text, ToolCall, ToolCallDelta, Usage
from llm.tests.conftest import CLOCK, WEATHER, asking

DONE = "data: [DONE]\n\n"
TEXT = "Hällo, 世界! 🙂 done"


def chunk(content=None, finish=None, *, newline="\n", **fields):
    """Return one chunk of OpenAI's dialect as an event."""
    delta = fields.pop("delta", {} if content is None else {"content": content})
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c1", "model": "m-1", "choices": [choice], **fields}
    return f"data: {json.dumps(body, ensure_ascii=False)}{newline}{newline}"


def part(*parts, finish=None, newline="\r\n", **fields):
    """Return one chunk of Gemini's wire as an event; a text stands for a text part."""
    written = [{"text": item} if isinstance(item, str) else item for item in parts]
    candidate = {"content": {"role": "model", "parts": written}}
    if finish:
        candidate["finishReason"] = finish
    body = {"candidates": [candidate], **fields}
    return f"data: {json.dumps(body, ensure_ascii=False)}{newline}{newline}"


def calls(*fragments):
    return chunk(delta={"tool_calls": list(fragments)})


def fragment(arguments=None, *, name=None, **fields):
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


END = chunk("", "stop") + DONE


# -- Events and bytes -----------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_stream_is_the_same_however_it_is_split(answers, newline, size):
    body = "".join(chunk(character, newline=newline) for character in TEXT)
    body = (body + chunk("", "stop", newline=newline)).encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert answers(*pieces).completion.text == TEXT


def test_line_ends_may_be_mixed_and_a_mark_may_lead(answers):
    body = (
        b"\xef\xbb\xbf" + (chunk("a", newline="\r") + chunk("b", newline="\r\n") + chunk("c") + END).encode()
    )
    assert answers(body).completion.text == "abc"


def test_mark_split_from_the_rest_is_still_dropped(answers):
    assert answers(b"\xef", 0.02, b"\xbb\xbf" + (chunk("a") + END).encode()).completion.text == "a"


def test_data_needs_no_space_and_may_take_several_lines(answers):
    lines = json.dumps({"choices": [{"delta": {"content": "ab"}, "finish_reason": "stop"}]}, indent=1)
    body = "\n".join("data:" + line for line in lines.split("\n"))
    assert answers(body + "\n\n" + DONE).completion.text == "ab"


def test_comments_and_other_fields_are_passed_over(answers):
    noise = ": OPENROUTER PROCESSING\n\n:\n\nid: 7\nretry: 100\n\nevent: ping\ndata:\n\n"
    body = noise + chunk("a") + noise + "event: message\n" + chunk("b") + noise + END
    assert answers(body).completion.text == "ab"


def test_last_event_needs_no_blank_line(answers):
    assert answers(chunk("a") + chunk("b", "stop").rstrip("\n")).completion.text == "ab"


@pytest.mark.parametrize("done", ["", "data:[DONE]\n\n", "data:   [DONE]  \r\n\r\n", DONE + "data: junk\n\n"])
def test_end_mark_may_be_absent_padded_or_followed(answers, done):
    assert answers(chunk("a") + chunk("", "stop") + done).completion.text == "a"


def test_bytes_that_are_not_utf8_are_replaced(answers):
    body = chunk("aXb").encode().replace(b"X", b"\xff") + END.encode()
    assert answers(body).completion.text == "a\ufffdb"


def test_text_is_utf8_though_the_header_names_no_charset(answers):
    assert answers(chunk("é") + END, headers={"Content-Type": "text/plain"}).completion.text == "é"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_stream_is_read_though_not_asked_for(answers, coding):
    import zlib

    body = (chunk("a") + END).encode()
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    pieces = [packed[start : start + 9] for start in range(0, len(packed), 9)]
    assert answers(*pieces, headers={"Content-Encoding": coding}).completion.text == "a"


@pytest.mark.parametrize(("coding", "body"), [("gzip", b"not gzip at all"), ("br", b"\x0b\x02\x80hello\x03")])
def test_compression_that_cannot_be_undone_is_a_bad_reply(answers, coding, body):
    assert type(answers(body, headers={"Content-Encoding": coding}).error) is errors.BadReply


def test_compressed_stream_that_ends_early_is_a_bad_reply(answers):
    packed = gzip.compress((chunk("a") + END).encode())[:60]
    assert type(answers(packed, headers={"Content-Encoding": "gzip"}).error) is errors.BadReply


def test_character_in_two_halves_over_two_deltas_is_one(answers):
    halves = json.dumps("🙂")[1:-1].split("\\")
    body = "".join(chunk("H").replace('"H"', f'"\\{half}"') for half in halves[1:]) + END
    assert answers(body).completion.text == "🙂"


def test_lone_surrogates_and_nul_are_made_harmless(answers):
    lone, nul = chunk("H").replace("H", "a\\ud83d"), chunk("H").replace("H", "b\\u0000")
    assert answers(lone + nul + END).completion.text == "a\ufffdb\ufffd"


def test_nan_in_a_chunk_does_no_harm(answers):
    usage = '"usage": {"prompt_tokens": NaN, "completion_tokens": Infinity, "total_tokens": -Infinity}'
    body = chunk("a") + chunk("", "stop").replace('"id"', f'{usage}, "id"') + DONE
    assert answers(body).completion.usage == Usage()


@pytest.mark.parametrize(
    "garbage",
    ['data: {"choices": [{"delta"\n\n', "data: 7\n\n", "data: " + "[" * 100_000 + "\n\n", 'data: "text"\n\n'],
    ids=["cut", "number", "deep", "text"],
)
def test_chunk_that_is_no_object_is_a_bad_reply_after_the_text_before_it(answers, garbage):
    outcome = answers(chunk("so far") + garbage + END)
    assert type(outcome.error) is errors.BadReply
    assert outcome.text == "so far"


@pytest.mark.parametrize(
    "odd",
    [
        '{"choices": null}',
        '{"choices": {"0": 1}}',
        '{"choices": [null]}',
        '{"choices": [{"delta": null}]}',
        '{"choices": [{"delta": 7, "finish_reason": 3}]}',
        '{"choices": [{"delta": {"content": 5, "tool_calls": "no", "reasoning": {}}}]}',
        '{"usage": [], "id": 1, "model": {}, "error": null}',
    ],
)
def test_any_part_of_a_chunk_may_be_anything(answers, odd):
    assert answers(chunk("a") + f"data: {odd}\n\n" + END).completion.text == "a"


# -- Finishing ----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["clean", "close"])
def test_end_without_a_finish_reason_is_no_success(answers, end):
    outcome = answers(chunk("half of"), end=end)
    assert type(outcome.error) is errors.BadReply
    assert outcome.text == outcome.partial.text == "half of"


def test_end_mark_alone_does_not_finish_an_answer(answers):
    assert type(answers(chunk("half of") + DONE).error) is errors.BadReply


def test_reset_in_the_middle_is_a_network_error_with_the_partial_kept(answers):
    outcome = answers(chunk("half of"), end="reset")
    assert type(outcome.error) is errors.Unreachable
    assert outcome.partial.text == "half of"


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
def test_finished_answer_survives_a_broken_end_of_its_body(answers, end):
    body = part("whole", finish="STOP")
    assert answers(body, name="gemini", end=end).completion.text == "whole"


def test_answer_of_known_length_that_ends_early_is_a_bad_reply(answers):
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert answers(head + body, framed=False, end="close").completion.text == "a"
    assert type(answers(head + body[:-9], framed=False, end="close").error) is errors.BadReply


def test_null_does_not_overwrite_the_finish_reason(answers):
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "cost": 0.01}
    body = chunk("a") + chunk("", "length") + chunk("", None, usage=usage) + DONE
    completion = answers(body, name="openrouter").completion
    assert completion.finish == "length"
    assert completion.usage == Usage(input=4, output=2, cost=Decimal("0.01"))


@pytest.mark.parametrize(
    ("raw", "finish"),
    [("stop", "stop"), ("end_turn", "stop"), ("eos", "stop"), ("length", "length"), ("max_tokens", "length")],
)
def test_finish_reasons_have_one_meaning_each(answers, raw, finish):
    completion = answers(chunk("a") + chunk("", raw) + DONE).completion
    assert (completion.finish, completion.raw_finish) == (finish, raw)


def test_unknown_finish_reason_finishes(answers):
    assert answers(chunk("a") + chunk("", "because") + DONE).completion.finish == "stop"


def test_finish_reason_error_is_a_bad_reply(answers):
    assert type(answers(chunk("a") + chunk("", "error") + DONE).error) is errors.BadReply


@pytest.mark.parametrize("late", ["late", " and more"])
def test_text_after_the_finish_reason_counts(answers, late):
    assert answers(chunk("a", "stop") + chunk(late) + DONE).completion.text == "a" + late


def test_role_in_every_delta_and_null_content_do_no_harm(answers):
    body = chunk(delta={"role": "assistant", "content": None})
    body += "".join(chunk(delta={"role": "assistant", "content": letter}) for letter in "abc")
    assert answers(body + END).completion.text == "abc"


def test_content_may_be_a_list_of_parts(answers):
    parts = [
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "b"},
    ]
    completion = answers(chunk(delta={"content": parts}) + END).completion
    assert (completion.text, completion.reasoning) == ("ab", "hm")


def test_empty_answer_is_a_bad_reply_but_its_usage_is_kept(answers):
    outcome = answers(chunk("", "stop", usage={"prompt_tokens": 3, "completion_tokens": 1}) + DONE)
    assert type(outcome.error) is errors.BadReply
    assert outcome.partial.usage == Usage(input=3, output=1)


def test_model_used_may_differ_and_no_cost_is_no_zero(answers):
    completion = answers(chunk("a", model="another/one") + chunk("", "stop", model="another/one")).completion
    assert (completion.model_used, completion.response_id) == ("another/one", "c1")
    assert completion.usage.cost is None


# -- Thoughts -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_thoughts_in_the_text_are_kept_out_of_the_answer(answers, size):
    text = "\n<think>is it <b>4</b>?\n</think>\n\nIt is 4. A <think> tag inside stays."
    body = "".join(chunk(text[start : start + size]) for start in range(0, len(text), size))
    completion = answers(body + END).completion
    assert completion.text == "It is 4. A <think> tag inside stays."
    assert completion.reasoning == "is it <b>4</b>?\n"


def test_beginning_that_only_looks_like_a_thought_is_text(answers):
    assert answers(chunk("<thi") + chunk("s> is") + END).completion.text == "<this> is"
    assert answers(chunk("<th") + END).completion.text == "<th"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_told_apart_from_text(answers, field):
    outcome = answers(chunk(delta={field: "hm"}) + chunk("4") + END)
    assert (outcome.completion.text, outcome.completion.reasoning) == ("4", "hm")


def test_thoughts_alone_within_the_token_limit_are_a_cut_answer(answers):
    completion = answers(chunk(delta={"reasoning": "hm"}) + chunk("", "length") + DONE).completion
    assert (completion.text, completion.finish) == ("", "length")


# -- Tool calls -----------------------------------------------------------------------


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


def test_calls_without_index_are_told_apart_by_id(answers):
    body = calls(fragment('{"city"', name="get_weather", id="a")) + calls(fragment(': "Oslo"}'))
    body += calls(fragment("{}", name="get_time", id="b")) + chunk(None, "tool_calls")
    completion = asked_with_tools(answers, body).completion
    assert [(call.id, call.arguments) for call in completion.tool_calls] == [
        ("a", '{"city": "Oslo"}'),
        ("b", "{}"),
    ]


def test_missing_ids_are_made_up_and_differ(answers):
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
def test_arguments_that_are_no_object_are_a_bad_reply(answers, arguments):
    body = calls(fragment(arguments, name="get_weather", index=0, id="a")) + chunk(None, "tool_calls")
    assert type(asked_with_tools(answers, body).error) is errors.BadReply


def test_arguments_cut_by_the_token_limit_are_passed_on_as_they_are(answers):
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


# -- Usage ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ([{"prompt_tokens": 7}], Usage()),
        ({"prompt_tokens": "7", "completion_tokens": "3"}, Usage(input=7, output=3)),
        ({"prompt_tokens": 7, "total_tokens": 10}, Usage(input=7, output=3)),
        ({"completion_tokens": 3, "total_tokens": 10}, Usage(input=7, output=3)),
        ({"prompt_tokens": -5, "completion_tokens": True}, Usage()),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(input=7, output=3, cached=4, reasoning=2),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None},
            Usage(input=7, output=3),
        ),
    ],
)
def test_usage_may_be_absent_partial_or_text(answers, usage, expected):
    tail = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
    assert answers(chunk("a") + chunk("", "stop") + tail + DONE).completion.usage == expected


def test_usage_that_comes_twice_counts_once(answers):
    body = chunk("a", usage={"prompt_tokens": 7, "completion_tokens": 1})
    body += chunk("", "stop", usage={"prompt_tokens": 7, "completion_tokens": 3})
    assert answers(body).completion.usage == Usage(input=7, output=3)


# -- Errors inside a stream ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "busy", "code": 503}, errors.Overloaded),
        ({"message": "slow down", "code": "429"}, errors.RateLimited),
        ({"message": "long", "code": "context_length_exceeded"}, errors.ContextTooLong),
        ({"message": "bad call", "code": "tool_use_failed", "status_code": 400}, errors.BadReply),
        ({"message": "x", "metadata": {"error_type": "provider_unavailable"}}, errors.Overloaded),
        ("plain words", errors.BadReply),
        (["list", "of"], errors.BadReply),
        ([{"message": "in a list", "code": 500}], errors.Overloaded),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", ["event", "beside choices", "alone", "whole"])
def test_error_inside_an_answer_is_raised_by_its_kind(answers, error, kind, shape):
    body = json.dumps({"error": error})
    if shape == "event":
        body = f"event: error\ndata: {body}\n\n"
    elif shape == "beside choices":
        body = chunk("", None, error=error) + DONE
    elif shape == "alone":
        body = f"data: {body}\n\n"
    before = "" if shape == "whole" else chunk("so far")
    outcome = answers(before + body)
    assert type(outcome.error) is kind
    assert outcome.text == ("" if shape == "whole" else "so far")


def test_error_event_may_hold_plain_words(answers):
    outcome = answers(chunk("a") + "event: error\ndata: it broke\n\n")
    assert type(outcome.error) is errors.BadReply
    assert outcome.error.detail == "it broke"


def test_usage_beside_an_error_is_kept(answers):
    outcome = answers(chunk("a", None, error={"code": 502}, usage={"prompt_tokens": 5}))
    assert type(outcome.error) is errors.Overloaded
    assert outcome.partial.usage.input == 5


@pytest.mark.parametrize(
    "body",
    [
        chunk("no ") + chunk("", "content_filter") + DONE,
        chunk("no ") + chunk(delta={"refusal": "I can't"}) + chunk("", "stop") + DONE,
        chunk("no ") + chunk("", "refusal") + DONE,
    ],
    ids=["filter", "refusal text", "refusal"],
)
def test_filter_and_refusal_are_blocked_with_the_partial_kept(answers, body):
    outcome = answers(body)
    assert type(outcome.error) is errors.Blocked
    assert (outcome.partial.text, outcome.partial.finish) == ("no ", "blocked")


# -- Other bodies than promised -------------------------------------------------------------


@pytest.mark.parametrize("name", ["groq", "gemini"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"<!DOCTYPE html><p>hi", b"Internal Server Error", b"{", b"\xff\xfe{\0"]
)
def test_body_that_is_no_answer_is_a_bad_reply(answers, name, stream, body):
    assert type(answers(body, name=name, stream=stream).error) is errors.BadReply


def test_json_is_read_where_a_stream_was_asked_for(answers):
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}, indent=2)
    outcome = answers(body, headers={"Content-Type": "application/json"})
    assert outcome.events[0] == Text("a")
    assert outcome.completion.text == "a"


def test_list_of_objects_is_read_as_geminis_stream(answers):
    objects = [json.loads(part("a")[6:]), json.loads(part("b", finish="STOP")[6:])]
    assert answers(json.dumps(objects), name="gemini").completion.text == "ab"


def test_stream_is_read_where_json_was_asked_for(answers):
    assert answers(chunk("a") + END, stream=False).completion.text == "a"


def test_whole_answer_gives_the_same_events(answers):
    call = {"id": "a", "function": {"name": "get_time", "arguments": "{}"}}
    message = {"content": None, "reasoning": "hm", "tool_calls": [call, call]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    outcome = asked_with_tools(answers, body, stream=False)
    assert outcome.reasoning == "hm"
    assert [call.name for call in outcome.completion.tool_calls] == ["get_time", "get_time"]


# -- Gemini's own ---------------------------------------------------------------------------


def test_gemini_drops_thoughts_and_joins_the_rest(answers):
    body = part({"text": "hm", "thought": True}) + part("It ", "is ") + part("4.") + part("", finish="STOP")
    completion = answers(body, name="gemini").completion
    assert (completion.text, completion.reasoning, completion.finish) == ("It is 4.", "hm", "stop")


def test_gemini_counts_thoughts_as_output_and_keeps_the_last_figures(answers):
    early = {"promptTokenCount": 9, "totalTokenCount": 9}
    late = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
    }
    body = part("a", usageMetadata=early) + part("", finish="STOP", usageMetadata=late)
    assert answers(body, name="gemini").completion.usage == Usage(input=12, output=12, cached=4, reasoning=7)


@pytest.mark.parametrize("candidates", [None, [], [{}], [{"content": {}}], [{"content": {"parts": None}}]])
def test_gemini_may_leave_content_out(answers, candidates):
    odd = f"data: {json.dumps({'candidates': candidates})}\r\n\r\n"
    assert answers(odd + part("a") + odd + part("", finish="STOP"), name="gemini").completion.text == "a"


def test_gemini_without_text_at_its_limit_is_a_cut_answer(answers):
    body = 'data: {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}\r\n\r\n'
    completion = answers(body, name="gemini").completion
    assert (completion.text, completion.finish) == ("", "length")


def test_gemini_block_without_candidates_is_blocked(answers):
    body = 'data: {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}\r\n\r\n'
    error = answers(body, name="gemini").error
    assert type(error) is errors.Blocked
    assert "PROHIBITED_CONTENT" in str(error)


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"]
)
def test_gemini_block_after_text_keeps_the_text(answers, reason):
    outcome = answers(part("so far") + part(finish=reason), name="gemini")
    assert type(outcome.error) is errors.Blocked
    assert outcome.partial.text == "so far"


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "BRAND_NEW"])
def test_gemini_reasons_that_say_it_broke_are_a_bad_reply(answers, reason):
    assert type(answers(part("a", finish=reason), name="gemini").error) is errors.BadReply


@pytest.mark.parametrize("wrapped", [False, True])
def test_gemini_error_comes_as_an_event_or_bare(answers, wrapped):
    error = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}})
    body = part("a") + f"data: {error}\r\n\r\n" if wrapped else f"[{error}]"
    assert type(answers(body, name="gemini").error) is errors.Overloaded
