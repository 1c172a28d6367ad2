"""What real refusals mean: every answer has one meaning, and every line of the table has its answers.

`refusals.jsonl` has an answer a line, `[meaning, status, body]`, with names, keys and ids shortened. To add
a wording, add a line there; the table needs another one only if the meaning is missed.
"""

import json
import re
import time
from pathlib import Path

import pytest

from llm.providers.error_responses import parse_error
from llm.providers.refusal_table import LINES
from llm.providers.refusals import deciding_line, meaning_of

ANSWERS = [json.loads(line) for line in Path(__file__).with_name("refusals.jsonl").read_text().splitlines()]


def response(status, body):
    return parse_error(body, status=status)


def meaning(status, body):
    refusal = response(status, body)
    return meaning_of(refusal, deciding_line(refusal)).kind


@pytest.mark.parametrize("expected", sorted({kind for kind, _, _ in ANSWERS}))
def test_real_refusals_have_their_meaning(expected):
    answers = [(status, body) for kind, status, body in ANSWERS if kind == expected]
    assert not [(meaning(*answer), *answer) for answer in answers if meaning(*answer) != expected]


def test_every_line_of_the_table_decides_one_of_the_answers():
    deciding = {id(deciding_line(response(status, body))) for _, status, body in ANSWERS}
    assert not [line.source for line in LINES if id(line) not in deciding]


def test_every_line_has_a_source_with_a_date():
    assert not [line.source for line in LINES if not re.search(r"20\d\d-\d\d|RFC \d", line.source)]


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda body: {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(body)}}},
        lambda body: {
            "error": {"message": f"litellm.APIError: Exception - {json.dumps(body)}", "type": None}
        },
        lambda body: {"detail": body},
        lambda body: [body],
    ],
    ids=["in metadata.raw", "in a gateway's sentence", "in detail", "in a list"],
)
def test_the_innermost_reason_decides(wrapped):
    """Those with a status in their error: a gateway's own is then another one."""
    missed = []
    for expected, status, body in ANSWERS:
        if status == 400 and isinstance(body, dict) and "metadata" not in body.get("error", {}):
            found = meaning(400, wrapped(body))
            missed += [(found, body)] if found != expected else []
    assert not missed


@pytest.mark.parametrize(
    "prefix",
    ["prompt ", "tokens 1 + ", "model ", "a_", "A", "{", '{"a":', "content violat", "1,", "\\x20 too "],
)
def test_time_for_a_long_message_is_linear(prefix):
    text = (prefix * 65536)[:65536]
    began = time.thread_time()
    meaning(400, {"error": {"message": text, "metadata": {"raw": text}}})
    assert time.thread_time() - began < 1
