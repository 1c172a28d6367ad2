"""What a further attempt's text does to the text that the client already has."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.canonical import Message, Request
from llm.rescue import TELLING_CHARACTERS, Join, Seam, continuable, continuation

SENT = "The tower is 330 metres tall and stands on the Champ de Mars."
REQUEST = Request(messages=(Message("user", "How tall is it?"),), max_tokens=100)


def seen_by_client(sent: str, pieces: list[str], *, continuing: bool) -> tuple[str, bool]:
    """Return the text a client ends up with, and whether it was told to drop what it had."""
    seam: Seam | None = Seam(sent, continuing=continuing)
    text, restarted = sent, False
    for piece in pieces:
        if seam is None:
            text += piece
        elif join := seam.feed(piece):
            seam = None
            restarted = join.restart
            text = join.text if join.restart else text + join.text
    if seam is not None:
        join = seam.end()
        restarted = join.restart
        text = join.text if join.restart else text + join.text
    return text, restarted


def test_same_beginning_goes_on_without_a_seam():
    assert seen_by_client(SENT, [SENT[:20], SENT[20:] + " It", " is old."], continuing=False) == (
        SENT + " It is old.",
        False,
    )


def test_other_beginning_replaces_what_was_sent():
    assert seen_by_client(SENT, ["The tow", "n is small."], continuing=False) == ("The town is small.", True)


def test_text_is_held_back_while_it_repeats_what_was_sent():
    seam = Seam(SENT, continuing=False)
    assert [seam.feed(character) for character in SENT[:-1]] == [None] * (len(SENT) - 1)


def test_restarted_answer_shorter_than_what_was_sent_replaces_it():
    assert seen_by_client(SENT, ["The tower"], continuing=False) == ("The tower", True)


def test_restarted_answer_equal_to_what_was_sent_needs_no_restart():
    assert seen_by_client(SENT, [SENT], continuing=False) == (SENT, False)


def test_continuation_is_added():
    assert seen_by_client(SENT, [" It", " is old."], continuing=True) == (SENT + " It is old.", False)


def test_continuation_may_begin_like_the_answer_did():
    assert seen_by_client(SENT, ["The", " garden is free."], continuing=True) == (
        SENT + "The garden is free.",
        False,
    )


def test_model_that_repeats_its_prefix_is_joined_without_a_seam():
    assert seen_by_client(SENT, [SENT + " It is old."], continuing=True) == (SENT + " It is old.", False)


def test_model_that_starts_again_instead_of_continuing_is_a_restart():
    other = SENT[:TELLING_CHARACTERS] + " high, with its antenna."
    assert seen_by_client(SENT, [other[:9], other[9:]], continuing=True) == (other, True)


def test_after_tool_calls_everything_replaces_what_was_sent():
    assert Seam(SENT, continuing=False, void=True).feed(SENT) == Join(SENT, restart=True)
    assert Seam("", continuing=False, void=True).end() == Join("", restart=True)


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
        (REQUEST, SENT[: TELLING_CHARACTERS - 1], False),
        (Request(messages=REQUEST.messages, json_mode=True), SENT, False),
        (Request(messages=REQUEST.messages, json_schema={"name": "x", "schema": {}}), SENT, False),
    ],
    ids=["text", "too short", "JSON", "JSON schema"],
)
def test_only_text_of_some_length_is_continued(request_, sent, expected):
    assert continuable(request_, sent) is expected


def test_continuation_asks_for_what_is_left_of_the_token_limit():
    asked = continuation(REQUEST, SENT)
    assert asked.messages[-1] == Message("assistant", SENT)
    assert asked.max_tokens == 100 - 16
