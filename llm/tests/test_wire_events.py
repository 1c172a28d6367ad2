"""Streams split, formatted, compressed and damaged in every way, over real sockets."""

import gzip
import json
import zlib

import pytest

from llm import errors
from llm.canonical import Text, Usage
from llm.tests.bodies import DONE, END, chunk, part
from qa.testing.llm import CLOCK, asking

TEXT = "Hällo, 世界! 🙂 done"


# -- Events and bytes -----------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_stream_is_the_same_however_it_is_split(answers, newline, size):
    body = "".join(chunk(character, newline=newline) for character in TEXT)
    body = (body + chunk("", "stop", newline=newline)).encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert answers(*pieces).completion.text == TEXT


def test_line_ends_may_be_mixed_and_a_bom_may_lead(answers):
    body = (
        b"\xef\xbb\xbf" + (chunk("a", newline="\r") + chunk("b", newline="\r\n") + chunk("c") + END).encode()
    )
    assert answers(body).completion.text == "abc"


def test_split_bom_is_dropped(answers):
    assert answers(b"\xef", 0.02, b"\xbb\xbf" + (chunk("a") + END).encode()).completion.text == "a"


def test_data_needs_no_space_and_may_take_several_lines(answers):
    lines = json.dumps({"choices": [{"delta": {"content": "ab"}, "finish_reason": "stop"}]}, indent=1)
    body = "\n".join("data:" + line for line in lines.split("\n"))
    assert answers(body + "\n\n" + DONE).completion.text == "ab"


def test_comments_and_other_fields_are_ignored(answers):
    noise = ": OPENROUTER PROCESSING\n\n:\n\nid: 7\nretry: 100\n\nevent: ping\ndata:\n\n"
    body = noise + chunk("a") + noise + "event: message\n" + chunk("b") + noise + END
    assert answers(body).completion.text == "ab"


def test_last_event_needs_no_blank_line(answers):
    assert answers(chunk("a") + chunk("b", "stop").rstrip("\n")).completion.text == "ab"


@pytest.mark.parametrize("done", ["", "data:[DONE]\n\n", "data:   [DONE]  \r\n\r\n", DONE + "data: junk\n\n"])
def test_done_may_be_absent_padded_or_followed(answers, done):
    assert answers(chunk("a") + chunk("", "stop") + done).completion.text == "a"


def test_bytes_that_are_not_utf8_are_replaced(answers):
    body = chunk("aXb").encode().replace(b"X", b"\xff") + END.encode()
    assert answers(body).completion.text == "a\ufffdb"


def test_text_is_utf8_without_a_charset_in_the_header(answers):
    assert answers(chunk("é") + END, headers={"Content-Type": "text/plain"}).completion.text == "é"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_stream_is_read_although_not_requested(answers, coding):
    body = (chunk("a") + END).encode()
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    pieces = [packed[start : start + 9] for start in range(0, len(packed), 9)]
    assert answers(*pieces, headers={"Content-Encoding": coding}).completion.text == "a"


@pytest.mark.parametrize(("coding", "body"), [("gzip", b"not gzip at all"), ("br", b"\x0b\x02\x80hello\x03")])
def test_invalid_or_unknown_compression_is_a_bad_reply(answers, coding, body):
    assert type(answers(body, headers={"Content-Encoding": coding}).error) is errors.BadReply


def test_compressed_stream_that_ends_early_is_a_bad_reply(answers):
    packed = gzip.compress((chunk("a") + END).encode())[:60]
    assert type(answers(packed, headers={"Content-Encoding": "gzip"}).error) is errors.BadReply


def test_surrogate_pair_split_over_two_deltas_is_one_character(answers):
    halves = json.dumps("🙂")[1:-1].split("\\")
    body = "".join(chunk("H").replace('"H"', f'"\\{half}"') for half in halves[1:]) + END
    assert answers(body).completion.text == "🙂"


def test_lone_surrogates_and_nul_are_replaced(answers):
    lone, nul = chunk("H").replace("H", "a\\ud83d"), chunk("H").replace("H", "b\\u0000")
    assert answers(lone + nul + END).completion.text == "a\ufffdb\ufffd"


def test_nan_in_a_chunk_is_ignored(answers):
    usage = '"usage": {"prompt_tokens": NaN, "completion_tokens": Infinity, "total_tokens": -Infinity}'
    body = chunk("a") + chunk("", "stop").replace('"id"', f'{usage}, "id"') + DONE
    assert answers(body).completion.usage == Usage()


@pytest.mark.parametrize(
    "garbage",
    ['data: {"choices": [{"delta"\n\n', "data: 7\n\n", "data: " + "[" * 100_000 + "\n\n", 'data: "text"\n\n'],
    ids=["cut", "number", "deep", "text"],
)
def test_chunk_that_is_not_an_object_is_a_bad_reply_after_the_text_before_it(answers, garbage):
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
def test_any_part_of_a_chunk_may_have_any_type(answers, odd):
    assert answers(chunk("a") + f"data: {odd}\n\n" + END).completion.text == "a"


# -- Bodies of another format than requested -------------------------------------------------------------


@pytest.mark.parametrize("name", ["groq", "gemini"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"<!DOCTYPE html><p>hi", b"Internal Server Error", b"{", b"\xff\xfe{\0"]
)
def test_body_without_an_answer_is_a_bad_reply(answers, name, stream, body):
    assert type(answers(body, name=name, stream=stream).error) is errors.BadReply


def test_json_is_read_where_a_stream_was_requested(answers):
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}, indent=2)
    outcome = answers(body, headers={"Content-Type": "application/json"})
    assert outcome.events[0] == Text("a")
    assert outcome.completion.text == "a"


def test_list_of_objects_is_read_as_geminis_stream(answers):
    objects = [json.loads(part("a")[6:]), json.loads(part("b", finish="STOP")[6:])]
    assert answers(json.dumps(objects), name="gemini").completion.text == "ab"


def test_stream_is_read_where_json_was_requested(answers):
    assert answers(chunk("a") + END, stream=False).completion.text == "a"


def test_whole_answer_gives_the_same_events(answers):
    call = {"id": "a", "function": {"name": "get_time", "arguments": "{}"}}
    message = {"content": None, "reasoning": "hm", "tool_calls": [call, call]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    outcome = answers(body, request=asking(tools=(CLOCK,)), stream=False)
    assert outcome.reasoning == "hm"
    assert [call.name for call in outcome.completion.tool_calls] == ["get_time", "get_time"]
