"""Whether a foreign id can be told from a missing one by the time its 404 takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from config.isolation.cells import Cell, parameters_of
from config.isolation.matrix import Matrix
from config.isolation.table import ROUTES, Id

#: Calls of each kind; they alternate, so that a slow moment of the machine meets both.
CALLS = 60


@dataclass(frozen=True, slots=True)
class Timing:
    """Medians in milliseconds."""

    cell: Cell
    foreign_ms: float
    missing_ms: float

    @property
    def ratio(self) -> float:
        return self.foreign_ms / self.missing_ms


def timings(matrix: Matrix, calls: int = CALLS) -> Iterator[Timing]:
    """Measure every GET with one id, asked by Acme's admin."""
    caller = matrix.world["admin"]
    for route, row in ROUTES.items():
        if "GET" in row.may and len(parameters_of(route)) == 1:
            yield _timing(matrix, Cell(route, "GET", caller, caller.header, (Id.FOREIGN,)), calls)


def _timing(matrix: Matrix, foreign: Cell, calls: int) -> Timing:
    missing = replace(foreign, ids=(Id.MISSING,))
    taken: dict[Id, list[float]] = {Id.FOREIGN: [], Id.MISSING: []}
    for _ in range(calls):
        for cell in (foreign, missing):
            began = time.perf_counter()
            matrix.ask(cell)
            taken[cell.ids[0]].append((time.perf_counter() - began) * 1000)
    return Timing(foreign, *(statistics.median(taken[which]) for which in (Id.FOREIGN, Id.MISSING)))
