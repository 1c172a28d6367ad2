"""Whether the time of an answer distinguishes a foreign id from a missing one.

Both are requested alternately, so that other load of the machine affects both, and the order within a
pair alternates too. The measure is in how many pairs the foreign one took longer (a sign test): for
equal distributions that is half of them, whatever the durations and their spread.
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

from qa.isolation.cases import Case, parameters_of
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.table import ROUTES, SITE, Id

#: The greatest probability that any of all comparisons finds a difference between equal distributions.
ERROR_RATE = 0.01

#: Smaller differences cannot be measured through a network.
TOLERATED_SHARE = 0.1

Request = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same request for a foreign id and for a missing one."""

    what: str
    foreign: Request
    missing: Request


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of one comparison: (foreign, missing) in milliseconds; `error_rate` is its share of all."""

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
        """The median difference within a pair, as a share of the median for a missing id."""
        return statistics.median(foreign - missing for foreign, missing in self.pairs) / self.missing_ms

    @property
    def p_value(self) -> float:
        """The probability of a count at least this uneven for equal distributions."""
        slower = sum(foreign > missing for foreign, missing in self.pairs)
        fewer, count = min(slower, len(self.pairs) - slower), len(self.pairs)
        tail: float = sum(comb(count, number) for number in range(fewer + 1)) / 2**count
        return min(1.0, 2 * tail)

    @property
    def is_distinguishable(self) -> bool:
        return self.p_value < self.error_rate and abs(self.share) > TOLERATED_SHARE


def timings(matrix: Matrix, pairs: int) -> Iterator[Timing]:
    """Compare ids in paths, bodies, queries and cursors, each with this number of pairs."""
    compared = list(comparisons(matrix))
    for comparison in compared:
        yield Timing(comparison.what, list(_pairs(comparison, pairs)), ERROR_RATE / len(compared))


def _pairs(comparison: Comparison, count: int) -> Iterator[tuple[float, float]]:
    _milliseconds(comparison.foreign), _milliseconds(comparison.missing)  # The first request is slower.
    for number in range(count):
        if number % 2:
            foreign, missing = _milliseconds(comparison.foreign), _milliseconds(comparison.missing)
        else:
            missing, foreign = _milliseconds(comparison.missing), _milliseconds(comparison.foreign)
        yield foreign, missing


def _milliseconds(request: Request) -> float:
    began = time.perf_counter()
    request()
    return (time.perf_counter() - began) * 1000


# -- comparisons -------------------------------------------------------------


def comparisons(matrix: Matrix) -> Iterator[Comparison]:
    """Yield the requests that change nothing, by a caller who may make them with its own ids."""
    for route, row in ROUTES.items():
        count = len(parameters_of(route))
        caller = matrix.dataset["sk" if row.policy is SITE else "admin"]
        method = "POST" if row.body_id else "GET"
        if method not in row.allowed:
            continue
        for position in range(count):

            def request(which: Id, case: Case, position: int = position) -> Request:
                ids = tuple(which if n == position else own for n, own in enumerate(case.ids))
                changed = Case(case.route, case.method, case.caller, case.header, ids)
                return lambda: matrix.request_case(changed)

            own = Case(route, method, caller, caller.header, (Id.OWN,) * count)
            what = f"{method} {route}" + (f" {parameters_of(route)[position]}" if count > 1 else "")
            yield Comparison(what, request(Id.FOREIGN, own), request(Id.MISSING, own))
    yield from _queries(matrix)
    yield from _cursors(matrix)


def _queries(matrix: Matrix) -> Iterator[Comparison]:
    umbrella = matrix.dataset.umbrella
    route = "api/chat/tenants/<str:tenant_id>/sessions"
    path = f"/api/chat/tenants/{matrix.dataset.acme.tenant.pk}/sessions"
    named = {"user_id": (umbrella.admin.pk, ObjectId()), "visitor": (umbrella.visitor, "v_missing")}
    for name, (foreign, missing) in named.items():
        yield Comparison(
            f"GET {route}?{name}",
            _get(matrix, f"{path}?{name}={foreign}"),
            _get(matrix, f"{path}?{name}={missing}"),
        )


def _cursors(matrix: Matrix) -> Iterator[Comparison]:
    """Compare another tenant's cursor, which encodes a time, with one for a millisecond later."""
    parameter = "<str:tenant_id>"
    for route in (f"api/tenants/{parameter}/members", f"api/chat/tenants/{parameter}/messages"):
        umbrellas, own = (
            f"/{route.replace(parameter, str(fixtures.tenant.pk))}"
            for fixtures in (matrix.dataset.umbrella, matrix.dataset.acme)
        )
        page = matrix.request("GET", f"{umbrellas}?page_size=1", matrix.dataset["other admin"]).json()
        cursor = parse_qs(urlsplit(page["next"]).query)["cursor"][0]
        yield Comparison(
            f"GET {route}?cursor",
            _get(matrix, f"{own}?cursor={quote(cursor)}"),
            _get(matrix, f"{own}?cursor={quote(_a_millisecond_later(cursor))}"),
        )


def _get(matrix: Matrix, path: str) -> Request:
    return lambda: matrix.request("GET", path, matrix.dataset["admin"])


def _a_millisecond_later(cursor: str) -> str:
    fields = {name: values[0] for name, values in parse_qs(b64decode(cursor).decode()).items()}
    time_encoded = datetime.fromisoformat(fields["p"]) + timedelta(milliseconds=1)
    return b64encode(urlencode(fields | {"p": str(time_encoded)}).encode()).decode()
