"""Every route, caller, header and id, against the table."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix, judge_route
from qa.isolation.table import ROUTES

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("route", ROUTES)
def test_route_keeps_to_the_table(matrix: Matrix, route: str):
    report = judge_route(matrix, route)

    assert report.cells.total() >= 5 * len(matrix.world.callers)
    assert report.failures == []
