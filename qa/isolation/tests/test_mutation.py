"""Mutation testing of the matrix: without any single scope, a check fails."""

from __future__ import annotations

import pytest

from qa.isolation.matrix import Matrix
from qa.isolation.mutation import Coverage, assumed_coverage, first_failure, measure_coverage
from qa.isolation.scopes import Scope, find_scopes, find_scopes_of_commands

# The first test measures what each check covers.
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]

SCOPES = find_scopes()
SCOPES_OF_COMMANDS = find_scopes_of_commands()

#: One scope of each module. `make prove` tests all of them.
SAMPLE = set({scope.module: scope for scope in SCOPES}.values())


@pytest.fixture(scope="module")
def coverage(matrix: Matrix, request: pytest.FixtureRequest) -> Coverage:
    """What each check covers; without `make prove` every third case is measured."""
    is_proof = any(item.get_closest_marker("proof") for item in request.session.items)
    return measure_coverage(matrix, [*SCOPES, *SCOPES_OF_COMMANDS], step=1 if is_proof else 3)


def test_nothing_fails_while_no_scope_is_dropped(coverage: Coverage):
    assert coverage.failures == []


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param(scope, id=str(scope), marks=[] if scope in SAMPLE else pytest.mark.proof)
        for scope in SCOPES
    ],
)
def test_a_check_fails_without_a_scope(matrix: Matrix, coverage: Coverage, scope: Scope):
    failure = first_failure(matrix, scope, coverage)
    failure = failure or first_failure(matrix, scope, assumed_coverage(matrix, scope))

    assert failure, f"{scope.module}:{scope.line} could be removed unnoticed"


@pytest.mark.parametrize("scope", SCOPES_OF_COMMANDS, ids=str)
def test_code_exempt_as_run_by_commands_only_is_called_by_no_request(coverage: Coverage, scope: Scope):
    function = (scope.module, scope.function)

    assert (coverage.probes.get(function), coverage.cases.get(function)) == (None, None)


def test_an_endless_loop_is_not_a_failure(matrix: Matrix):
    scope = next(
        scope for scope in SCOPES if scope.name == "chat.erasure.sessions_of: 'tenant_id': erasure.tenant"
    )
    coverage = Coverage()
    coverage.probes[scope.module, scope.function] = ["erasing_a_visitor_deletes_no_other_data"]

    assert first_failure(matrix, scope, coverage, timeout_seconds=2) is None
