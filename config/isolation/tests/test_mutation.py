"""The matrix is itself tested: without any one scope, it fails."""

from __future__ import annotations

import pytest

from config.isolation.matrix import Matrix
from config.isolation.mutation import Reach, caught, find_reach
from config.isolation.scopes import Scope, find_scopes

pytestmark = pytest.mark.django_db

SCOPES = find_scopes()


@pytest.fixture(scope="module")
def reach(matrix: Matrix) -> Reach:
    return find_reach(matrix, SCOPES)


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_dropping_a_scope_is_noticed(matrix: Matrix, reach: Reach, scope: Scope):
    assert caught(matrix, scope, reach), f"{scope.module}:{scope.line} could go, and nobody would notice"
