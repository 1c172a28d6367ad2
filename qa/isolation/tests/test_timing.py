"""Foreign ids are told from missing ones by time when they are, and not by chance."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix
from qa.isolation.timing import Timing, questions

EVEN = [(1.0, 1.1), (1.1, 1.0)] * 30


def timing(pairs: list[tuple[float, float]]) -> Timing:
    return Timing("an id", pairs, error_rate=0.001)


def test_equal_times_are_not_told_apart():
    assert timing(EVEN).p_value == 1
    assert not timing(EVEN).is_told_apart


@pytest.mark.parametrize("longer", [1.5, 0.5])
def test_what_always_takes_longer_or_shorter_is_told_apart(longer):
    assert timing([(longer, 1.0)] * 60).is_told_apart


def test_a_difference_that_no_network_lets_through_is_not_told():
    always_a_little = timing([(1.01, 1.0)] * 60)

    assert always_a_little.p_value < 0.001
    assert not always_a_little.is_told_apart


def test_a_few_slow_answers_tell_nothing():
    assert not timing([*EVEN, *[(50.0, 1.0)] * 6]).is_told_apart


@pytest.mark.django_db
def test_ids_of_all_kinds_are_asked_and_answered_alike(matrix: Matrix):
    asked = list(questions(matrix))

    told = " ".join(question.what for question in asked)
    assert all(kind in told for kind in ("POST api/chat ", "session_id", "?user_id", "?visitor", "?cursor"))
    assert [each.what for each in asked if each.foreign().status != each.missing().status] == []
