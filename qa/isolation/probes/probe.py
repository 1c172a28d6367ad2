"""What a probe is, and what many of them ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qa.isolation.canaries import owners_in
from qa.isolation.matrix import Answer, Matrix

Probe = Callable[[Matrix], Iterator[str]]

PROBES: dict[str, Probe] = {}


#: Those that ask every route, which takes seconds.
BROAD: set[str] = set()


def probe(look: Probe) -> Probe:
    PROBES[look.__name__] = look
    return look


def broad_probe(look: Probe) -> Probe:
    BROAD.add(look.__name__)
    return probe(look)


def run(matrix: Matrix, name: str) -> list[str]:
    """Return what the probe found, and leave the world as it was."""
    found: list[str] = []
    matrix.forget_what_was_sent()
    try:
        found.extend(PROBES[name](matrix))
        matrix.fresh()
    except Exception as error:  # Whatever the product does to a probe is a finding, and the next one runs.
        found.append(f"broke off with {error!r}")
        matrix.restore()
    return [f"{name}: {wrong}" for wrong in found]


def status(answer: Answer, expected: int, of: str) -> Iterator[str]:
    if answer.status != expected:
        yield f"{of} is a {answer.status} instead of {expected}"


def shows_nothing_of(answer: Answer, owner: str, what: str) -> Iterator[str]:
    if any(shown.startswith(owner) for shown in owners_in(answer.text)):
        yield f"{what} shows what is of {owner}"
