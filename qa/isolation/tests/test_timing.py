"""A difference in time between foreign and missing ids is found if there is one, and not by chance."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix
from qa.isolation.timing import Timing, comparisons

EQUAL = [(1.0, 1.1), (1.1, 1.0)] * 30


def timing(pairs: list[tuple[float, float]]) -> Timing:
    return Timing("an id", pairs, error_rate=0.001)


def test_equal_times_are_not_distinguishable():
    assert timing(EQUAL).p_value == 1
    assert not timing(EQUAL).is_distinguishable


@pytest.mark.parametrize("foreign_ms", [1.5, 0.5])
def test_times_that_always_differ_are_distinguishable(foreign_ms):
    assert timing([(foreign_ms, 1.0)] * 60).is_distinguishable


def test_a_difference_too_small_for_a_network_is_tolerated():
    always_slightly_longer = timing([(1.01, 1.0)] * 60)

    assert always_slightly_longer.p_value < 0.001
    assert not always_slightly_longer.is_distinguishable


def test_a_few_slow_answers_are_not_a_difference():
    assert not timing([*EQUAL, *[(50.0, 1.0)] * 6]).is_distinguishable


@pytest.mark.django_db
def test_ids_of_all_kinds_are_compared_and_have_equal_statuses(matrix: Matrix):
    compared = list(comparisons(matrix))

    what = " ".join(comparison.what for comparison in compared)
    assert all(kind in what for kind in ("POST api/chat ", "session_id", "?user_id", "?visitor", "?cursor"))
    assert [each.what for each in compared if each.foreign().status != each.missing().status] == []
