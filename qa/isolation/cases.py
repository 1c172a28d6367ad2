"""The cells of the matrix, made of the routes of the resolver, the methods, callers, headers and ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import get_resolver
from django.urls.resolvers import URLResolver

from qa.isolation.callers import Caller
from qa.isolation.table import CONSOLE, ROUTES, Door, Id, Row, expected
from qa.isolation.world import World

#: Two ids of a path, outermost first.
_PAIRS = [
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
class Cell:
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
        return expected(self.row, self.method, self.caller, self.header, self.ids)


def routes() -> list[str]:
    """Return every route of the resolver below no console, as the table spells them."""
    return [route for route in all_routes() if not route.startswith(CONSOLE)]


def all_routes() -> list[str]:
    def below(resolver: URLResolver, prefix: str) -> Iterator[str]:
        for each in resolver.url_patterns:
            path = prefix + str(each.pattern)
            if isinstance(each, URLResolver):
                yield from below(each, path)
            else:
                yield path

    return list(below(get_resolver(), ""))


def cells(world: World, route: str, method: str) -> Iterator[Cell]:
    """Yield the cells of a route and method: all ids where an answer may depend on them, else some."""
    row = ROUTES[route]
    number = len(parameters_of(route))
    for caller in world.callers.values():
        for header in caller.headers:
            in_its_header = header == caller.header or row.door is Door.OPENAI
            if row.door is Door.PUBLIC and not in_its_header:
                continue
            for ids in _ids(number, offered=method in row.may, in_its_header=in_its_header):
                yield Cell(route, method, caller, header, ids)


def parameters_of(route: str) -> list[str]:
    """Return the names of the ids that a request to `route` holds: in the path, then in the body."""
    named = [name for name in re.findall(r"<\w+:(\w+)>", route) if name.endswith("_id")]
    return named + ([ROUTES[route].body_id] if ROUTES[route].body_id else [])


def _ids(number: int, *, offered: bool, in_its_header: bool) -> list[tuple[Id, ...]]:
    if number == 0:
        return [()]
    own, foreign = (Id.OWN,) * number, (Id.FOREIGN,) * number
    if offered and in_its_header:
        return [(each,) for each in Id] if number == 1 else _PAIRS
    return [own, foreign] if offered or in_its_header else [own]
