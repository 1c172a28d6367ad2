"""The cases of the matrix: routes of the resolver, methods, callers, credential headers and ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qa.isolation.callers import Caller
from qa.isolation.dataset import Dataset
from qa.isolation.table import CONSOLE, OPENAI, PUBLIC, ROUTES, Id, Row, expected_status
from qa.testing.urls import url_patterns

#: Combinations of the two ids of a path, outermost first.
_PAIRS: list[tuple[Id, ...]] = [
    (Id.OWN, Id.OWN),
    (Id.FOREIGN, Id.FOREIGN),
    (Id.OWN, Id.FOREIGN),
    (Id.FOREIGN, Id.OWN),
    (Id.OWN, Id.MISSING),
    (Id.OWN, Id.MALFORMED),
    (Id.MISSING, Id.OWN),
    (Id.MALFORMED, Id.OWN),
]


@dataclass(frozen=True, slots=True)
class Case:
    route: str
    method: str
    caller: Caller
    header: str
    ids: tuple[Id, ...] = ()

    def __str__(self) -> str:
        ids = f" ({', '.join(self.ids)})" if self.ids else ""
        return f"{self.method} {self.route}{ids} by {self.caller.name} with {self.header}"

    @property
    def row(self) -> Row:
        return ROUTES[self.route]

    @property
    def expected(self) -> int:
        return expected_status(self.row, self.method, self.caller, self.header, self.ids)


def routes() -> list[str]:
    """Return every route of the resolver outside the console, as the table writes them."""
    return [route for route in all_routes() if not route.startswith(CONSOLE)]


def all_routes() -> list[str]:
    return [route for route, _ in url_patterns()]


def cases_of(dataset: Dataset, route: str, method: str) -> Iterator[Case]:
    """Yield the cases of a route and method: all ids where the answer may depend on them, else a few."""
    row = ROUTES[route]
    count = len(parameters_of(route))
    for caller in dataset.callers.values():
        for header in caller.tried_headers:
            is_right_header = header == caller.header or row.policy is OPENAI
            if row.policy is PUBLIC and not is_right_header:
                continue
            for ids in _ids(count, is_allowed=method in row.allowed, is_right_header=is_right_header):
                yield Case(route, method, caller, header, ids)


def sample(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield all cases of an allowed method; of another method one for each kind and state of callers.

    Which method is allowed depends on nothing else: the credential is checked, then the method.
    """
    seen = set()
    for case in cases:
        like = (case.caller.kind, case.caller.state, case.header, case.ids)
        if case.method in case.row.allowed or like not in seen:
            seen.add(like)
            yield case


def parameters_of(route: str) -> list[str]:
    """Return the names of the ids in a request to `route`: those of the path, then that of the body."""
    in_path = [name for name in re.findall(r"<\w+:(\w+)>", route) if name.endswith("_id")]
    return in_path + ([ROUTES[route].body_id] if ROUTES[route].body_id else [])


def _ids(count: int, *, is_allowed: bool, is_right_header: bool) -> list[tuple[Id, ...]]:
    if count == 0:
        return [()]
    own, foreign = (Id.OWN,) * count, (Id.FOREIGN,) * count
    if is_allowed and is_right_header:
        return [(each,) for each in Id] if count == 1 else _PAIRS
    return [own, foreign] if is_allowed or is_right_header else [own]
