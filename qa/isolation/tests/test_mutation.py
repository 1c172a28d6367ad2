"""The matrix is itself tested: without any one scope, it fails."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix
from qa.isolation.mutation import Reach, caught, find_reach
from qa.isolation.scopes import Scope, exempt_but_gone, find_scopes, find_scopes_of_commands

pytestmark = pytest.mark.django_db

SCOPES = find_scopes()
SCOPES_OF_COMMANDS = find_scopes_of_commands()


@pytest.fixture(scope="module")
def reach(matrix: Matrix) -> Reach:
    return find_reach(matrix, [*SCOPES, *SCOPES_OF_COMMANDS])


def test_nothing_is_noticed_when_nothing_is_dropped(reach: Reach):
    assert reach.failures == []


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_dropping_a_scope_is_noticed(matrix: Matrix, reach: Reach, scope: Scope):
    assert caught(matrix, scope, reach), f"{scope.module}:{scope.line} could go, and nobody would notice"


@pytest.mark.parametrize("scope", SCOPES_OF_COMMANDS, ids=str)
def test_what_only_commands_run_is_run_by_no_request(reach: Reach, scope: Scope):
    place = (scope.module, scope.function)

    assert (reach.probes.get(place), reach.cells.get(place)) == (None, None)


def test_what_is_exempt_stands_in_the_code():
    assert exempt_but_gone() == set()


def test_code_that_does_not_come_to_an_end_is_not_caught(matrix: Matrix):
    """Nobody has said what is wrong with it."""
    scope = next(
        scope for scope in SCOPES if scope.name == "chat.erasure.sessions_of: 'tenant_id': erasure.tenant"
    )
    endless = Reach()
    endless.probes[scope.module, scope.function] = ["an_erased_visitor_takes_nobody_along"]

    assert caught(matrix, scope, endless, patience_seconds=2) is None
