"""Every route, caller, credential header and id is answered as the table states."""

from __future__ import annotations

import pytest

from qa.isolation.cases import sample
from qa.isolation.matrix import Matrix, check_route
from qa.isolation.table import ROUTES

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_as_the_table_states(matrix: Matrix, route: str):
    report = check_route(matrix, route, sample)

    assert set(report.cases) == set(matrix.dataset.callers)
    assert report.failures == []


@pytest.mark.proof
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_every_caller_as_the_table_states(matrix: Matrix, route: str):
    report = check_route(matrix, route)

    assert report.cases.total() >= 5 * len(matrix.dataset.callers)
    assert report.failures == []
