"""The matrix put to the test: each scope of the product is dropped once, and has to be missed."""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from qa.isolation import probes, scopes
from qa.isolation.cases import Cell, cells
from qa.isolation.matrix import Matrix
from qa.isolation.scopes import Scope
from qa.isolation.table import METHODS, ROUTES

#: Callers who differ in what a scope keeps from them; the rest differ at the door.
_CALLERS = {
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

#: What any one probe or cell takes is a fraction of this.
PATIENCE_SECONDS = 20.0

#: The others ask every route, which takes seconds, and what they would find the cells find.
NARROW_PROBES = tuple(name for name in probes.PROBES if name not in probes.BROAD)

Place = tuple[str, str]
Look = Callable[[], list[str]]


class NoEnd(BaseException):
    """No Exception: drivers and views would take it for a failure of their own and go on."""


@dataclass
class Reach:
    """Which probes and cells run which function; `failures` are what they found with nothing dropped."""

    probes: dict[Place, list[str]] = field(default_factory=lambda: defaultdict(list))
    cells: dict[Place, list[Cell]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)


def find_reach(
    matrix: Matrix,
    found: list[Scope],
    *,
    names: Iterable[str] = NARROW_PROBES,
    routes: Iterable[str] = ROUTES,
) -> Reach:
    """Return which of the probes and of the routes' cells run the functions that hold a scope of `found`."""
    reach = Reach()
    with scopes.noted(found):
        for which, look in _looks(matrix, list(names), telling_cells(matrix, routes)):
            scopes.ran.clear()
            reach.failures += look()
            for place in scopes.ran:
                (reach.cells if isinstance(which, Cell) else reach.probes)[place].append(which)
    return reach


def telling_cells(matrix: Matrix, routes: Iterable[str]) -> list[Cell]:
    """Return the cells that reach a query, well mixed: any few of them differ in all."""
    every = (cell for route in routes for method in METHODS for cell in cells(matrix.world, route, method))
    telling = [
        cell
        for cell in every
        if cell.caller.name in _CALLERS
        and cell.header == cell.caller.header
        and cell.method in cell.row.may
        and cell.expected != 401
    ]
    return sorted(telling, key=lambda cell: zlib.crc32(str(cell).encode()))


def caught(
    matrix: Matrix, scope: Scope, reach: Reach, *, patience_seconds: float = PATIENCE_SECONDS
) -> str | None:
    """Return what is wrong without `scope`, None if nobody notices.

    Code that goes round for ever without it is not caught: nobody has said what is wrong.
    """
    place = (scope.module, scope.function)
    try:
        with scopes.without(scope):
            for _, look in _looks(matrix, reach.probes[place], reach.cells[place]):
                if found := _within(patience_seconds, look):
                    return found[0]
    except NoEnd:
        return None
    finally:
        matrix.restore()
    return None


def _looks(matrix: Matrix, names: list[str], cells: list[Cell]) -> Iterator[tuple[str | Cell, Look]]:
    """Yield what looks for something wrong, by the name of the probe or by the cell."""
    for which in [*names, *cells]:
        if isinstance(which, Cell):
            yield which, partial(matrix.failures_of, which)
        else:
            yield which, partial(probes.run, matrix, which)


def _within(seconds: float, look: Look) -> list[str]:
    """Return what is wrong. Raises NoEnd in this thread: without its scope a loop may go round for ever."""
    thread = ctypes.c_ulong(threading.get_ident())

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(NoEnd))

    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        return look()
    finally:
        timer.cancel()
