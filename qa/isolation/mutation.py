"""Mutation testing of the matrix: each scope of the product is dropped once, and a check must fail then."""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from qa.isolation import probes, scopes
from qa.isolation.cases import Case, cases_of
from qa.isolation.matrix import Matrix
from qa.isolation.scopes import Function, Scope
from qa.isolation.table import METHODS, ROUTES

#: Callers for whom scopes differ; the others are refused by their credentials or differ by their rights.
CALLERS = {
    "viewer",
    "admin",
    "other admin",
    "pk",
    "sk",
    "sk of another tenant",
    "visitor",
    "other visitor",
    "suspended tenant's admin",
    "deleted tenant's admin",
}

#: For one probe or case, which takes a fraction of this.
TIMEOUT_SECONDS = 20.0

#: The broad ones request every route, which takes seconds, and find what the cases find.
NARROW_PROBES = tuple(name for name in probes.PROBES if name not in probes.BROAD)

Check = Callable[[], list[str]]


class TimedOut(BaseException):
    """Not an Exception: drivers and views would handle it as their own error and continue."""


@dataclass
class Coverage:
    """The probes and cases that call each function; `failures` are theirs with no scope dropped."""

    probes: dict[Function, list[str]] = field(default_factory=lambda: defaultdict(list))
    cases: dict[Function, list[Case]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)


def measure_coverage(
    matrix: Matrix,
    found: list[Scope],
    *,
    names: Iterable[str] = NARROW_PROBES,
    routes: Iterable[str] = ROUTES,
    step: int = 1,
) -> Coverage:
    """Return which probes, and which cases of these routes, call the functions that contain `found`.

    With a `step` of n only every n-th case is tried.
    """
    coverage = Coverage()
    with scopes.recording_calls(found):
        for name in names:
            scopes.called.clear()
            coverage.failures += probes.run(matrix, name)
            for function in scopes.called:
                coverage.probes[function].append(name)
        for case in selected_cases(matrix, routes)[::step]:
            scopes.called.clear()
            coverage.failures += matrix.failures_of(case)
            for function in scopes.called:
                coverage.cases[function].append(case)
    return coverage


def assumed_coverage(matrix: Matrix, scope: Scope) -> Coverage:
    """Return that every case calls the function of `scope`, for a failure that a sample has not found."""
    return Coverage(cases={(scope.module, scope.function): selected_cases(matrix, ROUTES)})


def selected_cases(matrix: Matrix, routes: Iterable[str]) -> list[Case]:
    """Return the cases that reach a query, in a fixed random order: the first few differ in everything."""
    every = (
        case for route in routes for method in METHODS for case in cases_of(matrix.dataset, route, method)
    )
    selected = [
        case
        for case in every
        if case.caller.name in CALLERS
        and case.header == case.caller.header
        and case.method in case.row.allowed
        and case.expected != 401
    ]
    return sorted(selected, key=lambda case: zlib.crc32(str(case).encode()))


def first_failure(
    matrix: Matrix, scope: Scope, coverage: Coverage, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> str | None:
    """Return the first failure without `scope`, None if no check fails.

    An endless loop without it is not a failure: no check has named one.
    """
    try:
        with scopes.without(scope):
            for check in _checks(matrix, (scope.module, scope.function), coverage):
                if failures := _run_within(timeout_seconds, check):
                    return failures[0]
    except TimedOut:
        return None
    finally:
        matrix.restore()
    return None


def _checks(matrix: Matrix, function: Function, coverage: Coverage) -> Iterator[Check]:
    for name in coverage.probes.get(function, ()):
        yield partial(probes.run, matrix, name)
    for case in coverage.cases.get(function, ()):
        yield partial(matrix.failures_of, case)


def _run_within(seconds: float, check: Check) -> list[str]:
    """Return the failures of `check`. Raises TimedOut in this thread, which interrupts an endless loop."""
    thread = ctypes.c_ulong(threading.get_ident())

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimedOut))

    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        return check()
    finally:
        timer.cancel()
