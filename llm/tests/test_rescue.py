"""How a further attempt's text is spliced onto the text that the client already has."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import estimate
from llm.canonical import Message, Request
from llm.rescue import SIGNIFICANT_CHARACTERS, Splice, StreamSplicer, can_be_continued, continuation

SENT = "The tower is 330 metres tall and stands on the Champ de Mars."
REQUEST = Request(messages=(Message("user", "How tall is it?"),), max_tokens=100)


def seen_by_client(sent: str, pieces: list[str], *, continuing: bool) -> tuple[str, bool]:
    """Return the text that a client ends up with, and whether it got a restart."""
    splicer: StreamSplicer | None = StreamSplicer(sent, continuing=continuing)
    text, restarted = sent, False
    for piece in pieces:
        if splicer is None:
            text += piece
        elif splice := splicer.feed(piece):
            splicer = None
            restarted = splice.restart
            text = splice.text if splice.restart else text + splice.text
    if splicer is not None:
        splice = splicer.end()
        restarted = splice.restart
        text = splice.text if splice.restart else text + splice.text
    return text, restarted


def test_same_beginning_goes_on_without_a_seam():
    assert seen_by_client(SENT, [SENT[:20], SENT[20:] + " It", " is old."], continuing=False) == (
        SENT + " It is old.",
        False,
    )


def test_other_beginning_replaces_what_was_sent():
    assert seen_by_client(SENT, ["The tow", "n is small."], continuing=False) == ("The town is small.", True)


def test_text_is_held_back_while_it_repeats_what_was_sent():
    splicer = StreamSplicer(SENT, continuing=False)
    assert [splicer.feed(character) for character in SENT[:-1]] == [None] * (len(SENT) - 1)


def test_restarted_answer_shorter_than_what_was_sent_replaces_it():
    assert seen_by_client(SENT, ["The tower"], continuing=False) == ("The tower", True)


def test_restarted_answer_equal_to_what_was_sent_needs_no_restart():
    assert seen_by_client(SENT, [SENT], continuing=False) == (SENT, False)


def test_continuation_is_appended():
    assert seen_by_client(SENT, [" It", " is old."], continuing=True) == (SENT + " It is old.", False)


def test_continuation_may_begin_like_the_answer():
    assert seen_by_client(SENT, ["The", " garden is free."], continuing=True) == (
        SENT + "The garden is free.",
        False,
    )


def test_model_that_repeats_its_prefix_is_joined_without_a_seam():
    assert seen_by_client(SENT, [SENT + " It is old."], continuing=True) == (SENT + " It is old.", False)


def test_model_that_starts_again_instead_of_continuing_is_a_restart():
    other = SENT[:SIGNIFICANT_CHARACTERS] + " high, with its antenna."
    assert seen_by_client(SENT, [other[:9], other[9:]], continuing=True) == (other, True)


def test_after_tool_calls_everything_replaces_what_was_sent():
    assert StreamSplicer(SENT, continuing=False, unspliceable=True).feed(SENT) == Splice(SENT, restart=True)
    assert StreamSplicer("", continuing=False, unspliceable=True).end() == Splice("", restart=True)


@given(
    sent=st.text("ab", min_size=1, max_size=12),
    answer=st.text("ab", max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=5),
)
def test_client_always_ends_up_with_the_restarted_answer(sent, answer, cuts):
    edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    pieces = [answer[a:b] for a, b in pairwise(edges) if a < b]
    text, restarted = seen_by_client(sent, pieces, continuing=False)
    assert text == answer
    assert restarted is not answer.startswith(sent)


@pytest.mark.parametrize(
    ("request_", "sent", "expected"),
    [
        (REQUEST, SENT, True),
        (REQUEST, SENT[: SIGNIFICANT_CHARACTERS - 1], False),
        (Request(messages=REQUEST.messages, json_mode=True), SENT, False),
        (Request(messages=REQUEST.messages, json_schema={"name": "x", "schema": {}}), SENT, False),
    ],
    ids=["text", "too short", "JSON", "JSON schema"],
)
def test_only_text_of_sufficient_length_is_continued(request_, sent, expected):
    assert can_be_continued(request_, sent) is expected


def test_continuation_asks_for_what_is_left_of_the_token_limit():
    asked = continuation(REQUEST, SENT)
    assert asked.messages[-1] == Message("assistant", SENT)
    assert asked.max_tokens == 100 - estimate.tokens(SENT) == 85
