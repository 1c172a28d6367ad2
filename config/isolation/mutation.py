"""The matrix put to the test: each scope of the product is dropped once, and has to be missed."""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from config.isolation import probes, scopes
from config.isolation.cells import Cell, cells
from config.isolation.matrix import Matrix
from config.isolation.scopes import Scope
from config.isolation.table import METHODS, ROUTES

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

#: What anybody misses is missed in a fraction of this.
PATIENCE_SECONDS = 15.0

Place = tuple[str, str]


class NoEnd(BaseException):
    """No Exception: drivers and views would take it for a failure of their own and go on."""


@dataclass
class Reach:
    """Which probes and cells run which function."""

    probes: dict[Place, list[str]] = field(default_factory=lambda: defaultdict(list))
    cells: dict[Place, list[Cell]] = field(default_factory=lambda: defaultdict(list))


def find_reach(matrix: Matrix, found: list[Scope]) -> Reach:
    reach = Reach()
    with scopes.noted(found):
        for name in probes.PROBES:
            scopes.ran.clear()
            probes.run(matrix, name)
            for place in scopes.ran:
                reach.probes[place].append(name)
        for cell in telling_cells(matrix):
            scopes.ran.clear()
            matrix.first_failure([cell])
            for place in scopes.ran:
                reach.cells[place].append(cell)
    return reach


def telling_cells(matrix: Matrix) -> list[Cell]:
    """Return the cells that reach a query, well mixed: any few of them differ in all."""
    every = (cell for route in ROUTES for method in METHODS for cell in cells(matrix.world, route, method))
    telling = [
        cell
        for cell in every
        if cell.caller.name in _CALLERS
        and cell.header == cell.caller.header
        and cell.method in cell.row.may
        and cell.expected != 401
    ]
    return sorted(telling, key=lambda cell: zlib.crc32(str(cell).encode()))


def caught(matrix: Matrix, scope: Scope, reach: Reach) -> str | None:
    """Return what is wrong without `scope`, None if nobody notices."""
    place = (scope.module, scope.function)
    try:
        with _patience(), scopes.without(scope):
            for name in reach.probes[place]:
                if found := _probed(matrix, name):
                    return found
            return matrix.first_failure(reach.cells[place])
    except (NoEnd, TimeoutError):
        return "it does not come to an end"
    finally:
        matrix.restore()


@contextmanager
def _patience() -> Iterator[None]:
    """Raise NoEnd in this thread after `PATIENCE_SECONDS`: without its scope a loop may go round for ever."""
    thread = ctypes.c_ulong(threading.get_ident())

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(NoEnd))

    timer = threading.Timer(PATIENCE_SECONDS, interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _probed(matrix: Matrix, name: str) -> str | None:
    try:
        return next(iter(probes.run(matrix, name)), None)
    except (LookupError, TypeError, ValueError) as error:
        return f"{name}: its answers are not what they were: {error!r}"
