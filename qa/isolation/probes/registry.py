"""The probes by name, and what many of them check."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qa.isolation.canaries import owners_in
from qa.isolation.matrix import Answer, Matrix

Probe = Callable[[Matrix], Iterator[str]]

PROBES: dict[str, Probe] = {}

#: Probes that request every route, which takes seconds.
BROAD: set[str] = set()


def probe(function: Probe) -> Probe:
    PROBES[function.__name__] = function
    return function


def broad_probe(function: Probe) -> Probe:
    BROAD.add(function.__name__)
    return probe(function)


def run(matrix: Matrix, name: str) -> list[str]:
    """Return the failures of a probe, and restore the dataset."""
    failures: list[str] = []
    matrix.reset_provider()
    try:
        failures.extend(PROBES[name](matrix))
        matrix.reset()
    except Exception as error:  # Any error is a failure of this probe; the next one runs.
        failures.append(f"raised {error!r}")
        matrix.restore()
    return [f"{name}: {failure}" for failure in failures]


def has_status(answer: Answer, expected: int, what: str) -> Iterator[str]:
    if answer.status != expected:
        yield f"{what}: {answer.status} instead of {expected}"


def shows_nothing_of(answer: Answer, owner: str, what: str) -> Iterator[str]:
    if any(shown.startswith(owner) for shown in owners_in(answer.text)):
        yield f"{what} shows data of {owner}"
