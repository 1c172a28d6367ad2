"""Whether a foreign id can be told from a missing one by the time its answer takes.

Both are asked for in turn, so that a slow moment of the machine meets both, and which of them goes first
alternates. What counts is in how many pairs the foreign one took longer (a sign test): of two
equal ones it is half of them, however long they take and however the times are spread.
"""

from __future__ import annotations

import statistics
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import comb
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from bson import ObjectId

from qa.isolation.cases import Cell, parameters_of
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.table import ROUTES, Door, Id

#: How likely it is at most that any one of all comparisons tells equal ones apart.
ERROR_RATE = 0.01

#: Differences of less than this share are beyond what can be told through a network.
TOLERATED_SHARE = 0.1

Ask = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Question:
    """The same request for a foreign id, and for one that is missing."""

    what: str
    foreign: Ask
    missing: Ask


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one question: milliseconds of every pair, foreign before missing; `error_rate` is its share."""

    what: str
    pairs: list[tuple[float, float]]
    error_rate: float

    @property
    def foreign_ms(self) -> float:
        return statistics.median(foreign for foreign, _ in self.pairs)

    @property
    def missing_ms(self) -> float:
        return statistics.median(missing for _, missing in self.pairs)

    @property
    def share(self) -> float:
        """How much longer a foreign one takes, in the median of all pairs, as a share of a missing one."""
        return statistics.median(foreign - missing for foreign, missing in self.pairs) / self.missing_ms

    @property
    def p_value(self) -> float:
        """How likely at least so uneven a count is for two that take the same time."""
        slower = sum(foreign > missing for foreign, missing in self.pairs)
        fewer, number = min(slower, len(self.pairs) - slower), len(self.pairs)
        return min(1.0, 2 * sum(comb(number, count) for count in range(fewer + 1)) / 2**number)

    @property
    def is_told_apart(self) -> bool:
        return self.p_value < self.error_rate and abs(self.share) > TOLERATED_SHARE


def timings(matrix: Matrix, pairs: int) -> Iterator[Timing]:
    """Compare ids in paths, bodies, queries and cursors, each asked for `pairs` times."""
    asked = list(questions(matrix))
    for question in asked:
        yield Timing(question.what, list(_pairs(question, pairs)), ERROR_RATE / len(asked))


def _pairs(question: Question, number: int) -> Iterator[tuple[float, float]]:
    _milliseconds(question.foreign), _milliseconds(question.missing)  # The first of all is slower.
    for turn in range(number):
        if turn % 2:
            foreign, missing = _milliseconds(question.foreign), _milliseconds(question.missing)
        else:
            missing, foreign = _milliseconds(question.missing), _milliseconds(question.foreign)
        yield foreign, missing


def _milliseconds(ask: Ask) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


# -- what is asked -------------------------------------------------------------


def questions(matrix: Matrix) -> Iterator[Question]:
    """Yield what changes nothing, asked by somebody who may do it with an id of their own."""
    for route, row in ROUTES.items():
        number = len(parameters_of(route))
        caller = matrix.world["sk" if row.door is Door.SITE else "admin"]
        method = "POST" if row.body_id else "GET"
        if method not in row.may:
            continue
        for at in range(number):

            def ask(which: Id, cell: Cell, at: int = at) -> Ask:
                ids = tuple(which if n == at else own for n, own in enumerate(cell.ids))
                asked = Cell(cell.route, cell.method, cell.caller, cell.header, ids)
                return lambda: matrix.ask(asked)

            own = Cell(route, method, caller, caller.header, (Id.OWN,) * number)
            what = f"{method} {route}" + (f" {parameters_of(route)[at]}" if number > 1 else "")
            yield Question(what, ask(Id.FOREIGN, own), ask(Id.MISSING, own))
    yield from _queries(matrix)
    yield from _cursors(matrix)


def _queries(matrix: Matrix) -> Iterator[Question]:
    theirs = matrix.world.umbrella
    place = "api/chat/tenants/<str:tenant_id>/sessions"
    path = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/sessions"
    named = {"user_id": (theirs.admin.pk, ObjectId()), "visitor": (theirs.visitor, "v_nobodyes")}
    for name, values in named.items():
        yield Question(f"GET {place}?{name}", *(_get(matrix, f"{path}?{name}={value}") for value in values))


def _cursors(matrix: Matrix) -> Iterator[Question]:
    """Another tenant's cursor stands for a moment; a missing one is that of a moment beside it."""
    parameter = "<str:tenant_id>"
    for place in (f"api/tenants/{parameter}/members", f"api/chat/tenants/{parameter}/messages"):
        theirs, ours = (
            f"/{place.replace(parameter, str(each.tenant.pk))}"
            for each in (matrix.world.umbrella, matrix.world.acme)
        )
        page = matrix.request("GET", f"{theirs}?page_size=1", matrix.world["other admin"]).json()
        cursor = parse_qs(urlsplit(page["next"]).query)["cursor"][0]
        yield Question(
            f"GET {place}?cursor",
            *(_get(matrix, f"{ours}?cursor={quote(each)}") for each in (cursor, _beside(cursor))),
        )


def _get(matrix: Matrix, path: str) -> Ask:
    return lambda: matrix.request("GET", path, matrix.world["admin"])


def _beside(cursor: str) -> str:
    """Return the cursor of a millisecond later."""
    said = {name: values[0] for name, values in parse_qs(b64decode(cursor).decode()).items()}
    moment = datetime.fromisoformat(said["p"]) + timedelta(milliseconds=1)
    return b64encode(urlencode(said | {"p": str(moment)}).encode()).decode()
