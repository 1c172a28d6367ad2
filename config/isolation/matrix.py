"""The matrix: every route of the resolver x method x caller x header x ids, asked and judged.

A cell is judged by

- its status, which the table states;
- whose marks and figures its answer shows, and what the provider was told for it;
- its 404, which must not differ from that of an id that nobody has;
- the documents: a refused request changes none at all, an allowed one none of another tenant.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import ObjectId
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import get_resolver
from django.urls.resolvers import URLResolver

from accounts.models import RefreshToken
from accounts.tokens import TokenPair
from chat.models import Message
from config.isolation.callers import Caller, Kind
from config.isolation.table import CONSOLE, METHODS, ROUTES, Door, Id, Row, expected
from config.isolation.world import (
    FIGURES,
    INVITED_EVERYWHERE,
    World,
    owned_models,
    owners_in,
    since,
)
from config.mongo.pristine import Pristine
from llm.fake.server import FakeProvider
from tenants.models import Usage
from tenants.models.webhook import Event

#: Not documents of the product: counters and answers kept for a day.
_UNOWNED = {"cache"}
_SETTLED_WITHIN_SECONDS = 5.0

MALFORMED = "not-an-id"

#: What the unsafe methods of a route accept, by its whole path or its last part.
_BODIES = {
    "api/tenants": {"name": "New"},
    "<str:tenant_id>": {"name": "Renamed"},
    "<str:user_id>": {"role": "admin"},
    "invitations": {"email": INVITED_EVERYWHERE, "role": "viewer"},
    "accept": {"token": "inv_of_nobody"},
    "api-keys": {"name": "New"},
    "<str:session_id>": {"title": "Renamed"},
    "messages": {"message": "Hi"},
    "webhooks": {"url": "https://93.184.216.34/", "events": [Event.values[0]]},
    "<str:webhook_id>": {"enabled": False},
    "feedback": {"rating": "down"},
    "profile": {"name": "Renamed"},
    "test": {"provider": 5},
    "completions": {"model": "default", "messages": [{"role": "user", "content": "Hi"}]},
}

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


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: HttpResponseBase) -> Answer:
        body = b"".join(response.streaming_content) if response.streaming else response.content
        response.close()
        return cls(response.status_code, dict(response.items()), body)

    @property
    def told(self) -> tuple[dict[str, str], str]:
        """What the caller learns, but for the number of the request."""
        headers = {name: value for name, value in self.headers.items() if name != "X-Request-ID"}
        return headers, re.sub(r'"request_id":\s*"[^"]*"', '"request_id":""', self.text)

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Report:
    """How many cells were judged, by caller, and what was wrong."""

    cells: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: Report) -> Report:
        return Report(self.cells + other.cells, self.failures + other.failures)


# -- cells ---------------------------------------------------------------------


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


# -- asking --------------------------------------------------------------------


class Matrix:
    """Asks and judges, and puts the world back in order. `fake` plays the provider."""

    def __init__(self, world: World, fake: FakeProvider) -> None:
        self.world = world
        self._fake = fake
        self._client = Client(raise_request_exception=False, REMOTE_ADDR="127.0.0.1")
        self._keep_figures_of("other admin")
        self._pristine = Pristine(connection.database)
        self._hashes = self._database_hashes()
        self._missing = str(ObjectId())

    # -- requests

    def ask(self, cell: Cell) -> Answer:
        path = cell.route.replace("<path:name>", "default").replace("<path:rest>", "files")
        ids = dict(zip(parameters_of(cell.route), self._ids_of(cell), strict=True))
        path = re.sub(r"<\w+:(\w+)>", lambda match: ids[match[1]], path)
        body = self._body(cell, ids.get(cell.row.body_id))
        return self.request(cell.method, f"/{path}", cell.caller, cell.header, body)

    def request(
        self,
        method: str,
        path: str,
        caller: Caller,
        header: str | None = None,
        body: Any = None,
        **extra: str,
    ) -> Answer:
        """Return the answer to any request of `caller`; `extra` are headers as Django's client takes them."""
        shown = caller.shown_in(caller.header if header is None else header)
        data = b"" if body is None else json.dumps(body).encode()
        response = self._client.generic(
            method, path, data, content_type="application/json" if data else "", **shown, **extra
        )
        return Answer.of(response)

    def log_in(self, name: str) -> TokenPair:
        """Return the tokens of a new session of a person of the world."""
        return RefreshToken.objects.issue(self.world.users[name], RequestFactory().post("/"))

    def sent(self) -> list[Any]:
        """Return what providers were sent since the fake one was asked to forget."""
        return [entry.body for entry in self._fake.log()]

    def _ids_of(self, cell: Cell) -> list[str]:
        own, foreign = self.world.own(cell.caller), self.world.foreign(cell.caller)
        named = {
            Id.OWN: lambda name: str(own.id_of(name)),
            Id.FOREIGN: lambda name: str(foreign.id_of(name)),
            Id.MISSING: lambda name: self._missing,
            Id.MALFORMED: lambda name: MALFORMED,
        }
        return [named[which](name) for name, which in zip(parameters_of(cell.route), cell.ids, strict=True)]

    def _body(self, cell: Cell, body_id: str | None) -> dict[str, Any] | None:
        """Return a body that the route accepts."""
        if cell.method in ("GET", "DELETE"):
            return None
        if body_id is not None:
            return {cell.row.body_id: body_id, **({"message": "Hi"} if cell.route == "api/chat" else {})}
        if cell.route.endswith("/members"):
            return {"user": str(self.world.foreign(cell.caller).admin.pk), "role": "viewer"}
        return _BODIES.get(cell.route, _BODIES.get(cell.route.rpartition("/")[2], {}))

    def _keep_figures_of(self, name: str) -> None:
        """Have the figures of a tenant rolled up, as they are once somebody has looked at them."""
        tenant = self.world.own(self.world[name]).tenant
        for interval in ("day", "week", "month"):
            path = f"/api/chat/tenants/{tenant.pk}/analytics?interval={interval}&from={since()}"
            self.request("GET", path, self.world[name])

    # -- judging

    def judge(self, cells: Iterable[Cell]) -> Report:
        """Judge cells of one route and method: those that are refused first, at one look at the database."""
        report = Report()
        refused, allowed = _split(cells)
        not_found: dict[tuple[str, str], list[tuple[Cell, Answer]]] = {}
        for cell in refused:
            answer = self._judged(cell, report)
            if answer.status == 404:
                not_found.setdefault((cell.caller.name, cell.header), []).append((cell, answer))
        if changed := self.changed_collections():
            report.failures.append(f"{refused[0]} or another refused caller changed {', '.join(changed)}")
            self.restore()
        for group in not_found.values():
            report.failures += _telling_apart(group)
        for cell in allowed:
            self._judged(cell, report)
            report.failures += self.settle_and_restore(cell)
        return report

    def first_failure(self, cells: Iterable[Cell]) -> str | None:
        """Return what is wrong first; look at the database after every cell that could have changed it."""
        for cell in cells:
            report = Report()
            self._judged(cell, report)
            if cell.expected < 400:
                report.failures += self.settle_and_restore(cell)
            elif cell.method != "GET" and (changed := self.changed_collections()):
                report.failures.append(f"{cell} changed {', '.join(changed)}")
            if report.failures:
                return report.failures[0]
        return None

    def _judged(self, cell: Cell, report: Report) -> Answer:
        report.cells[cell.caller.name] += 1
        self._fake.reset()
        answer = self.ask(cell)
        if answer.status != cell.expected:
            report.failures.append(f"{cell}: {answer.status} instead of {cell.expected}")
        if shown := owners_in(answer.text + str(answer.headers)) - self._may_be_shown(cell):
            report.failures.append(f"{cell}: the answer shows what is of {', '.join(sorted(shown))}")
        if told := owners_in(str(self.sent())) - self._may_be_sent(cell):
            report.failures.append(f"{cell}: the provider was told what is of {', '.join(sorted(told))}")
        return answer

    def _may_be_shown(self, cell: Cell) -> set[str]:
        if cell.expected >= 400 or cell.row.door is Door.PUBLIC:
            return set()
        if "session_id" in parameters_of(cell.route):
            return {self._room(cell)} | ({FIGURES} if cell.caller.home == "umbrella" else set())
        return self.world.marks_of(cell.caller)

    def _may_be_sent(self, cell: Cell) -> set[str]:
        """What providers are told: the tenant's system prompt and this one conversation."""
        if cell.expected >= 400:
            return set()
        tenant = {"visitor": "acme"}.get(cell.caller.home, cell.caller.home)
        return {tenant, self._room(cell)} if "session_id" in parameters_of(cell.route) else {tenant}

    def _room(self, cell: Cell) -> str:
        return "acme.visitor" if cell.caller.kind is Kind.VISITOR else f"{cell.caller.home}.session"

    # -- the database

    def fresh(self) -> None:
        """Put everything back in order, whatever was done."""
        if self._fake.log():
            self._wait_until_settled()
        self._fake.reset()
        self.restore()

    def settle_and_restore(self, cell: Cell) -> list[str]:
        """Wait for what an allowed request set off, see whom it touched, and undo it."""
        if self._fake.log():
            self._wait_until_settled()
        touched = self.touched_beside(self.world.own(cell.caller).tenant.pk)
        if touched or self.changed_collections():
            self.restore()
        return [f"{cell} changed {', '.join(touched)} of other tenants"] if touched else []

    def restore(self) -> None:
        self._pristine.restore()

    def changed_collections(self) -> list[str]:
        now = self._database_hashes()
        return sorted(name for name in now.keys() | self._hashes if now.get(name) != self._hashes.get(name))

    def touched_beside(self, tenant_id: ObjectId) -> list[str]:
        """Return the collections in which something of other tenants is not as it was."""
        return [name for name in self.changed_collections() if self._is_touched(name, tenant_id)]

    def _is_touched(self, name: str, tenant_id: ObjectId) -> bool:
        """Whether documents in there that belong to other tenants, or to none, are not as they were."""
        column = self._owned().get(name)
        if column is None:
            return False
        others = {estate.tenant.pk for estate in self.world.estates.values()} - {tenant_id} | {None}
        before = (row for row in self._pristine.documents.get(name, []) if row.get(column) in others)
        return _digest(connection.database[name].find({column: {"$in": list(others)}})) != _digest(before)

    def _owned(self) -> dict[str, str]:
        return {model._meta.db_table: column for model, column in owned_models().items()}

    def _database_hashes(self) -> dict[str, str]:
        hashes = connection.database.command("dbHash")["collections"]
        return {name: digest for name, digest in hashes.items() if name not in _UNOWNED}

    def _wait_until_settled(self) -> None:
        deadline = time.monotonic() + _SETTLED_WITHIN_SECONDS
        while Usage.collection().find_one({"live": {"$gt": 0}}) or Message.collection().find_one(
            {"$or": [{"settled": False}, {"status": "streaming"}]}
        ):
            if time.monotonic() > deadline:
                raise TimeoutError("A turn was not settled.")
            time.sleep(0.005)


def _split(cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    ordered = sorted(cells, key=lambda cell: cell.expected < 400)
    refused = list(itertools.takewhile(lambda cell: cell.expected >= 400, ordered))
    return refused, ordered[len(refused) :]


def _telling_apart(answers: list[tuple[Cell, Answer]]) -> list[str]:
    """Return the 404s from which the caller could tell a foreign or malformed id from a missing one."""
    first_cell, first = answers[0]
    return [
        f"{cell}: its 404 differs from that of {first_cell}"
        for cell, answer in answers[1:]
        if answer.told != first.told
    ]


def _digest(documents: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for encoded in sorted(bson.encode(document) for document in documents):
        digest.update(encoded)
    return digest.hexdigest()


def judge_route(matrix: Matrix, route: str) -> Report:
    reports = (matrix.judge(cells(matrix.world, route, method)) for method in METHODS)
    return sum(reports, Report())
