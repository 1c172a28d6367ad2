"""The matrix: every route of the resolver x method x caller x header x ids, asked and judged.

A cell is judged by

- its status, which the table states;
- whose marks and figures its answer shows, and what the provider was told for it;
- its 404, which must not differ from that of an id that nobody has;
- the documents: a refused request changes none at all, an allowed one none of another tenant.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client

from accounts.models import RefreshToken
from accounts.tokens import TokenPair
from core.audit.models import NO_SOURCE
from qa.fake_provider.server import FakeProvider
from qa.isolation.callers import Caller, Kind
from qa.isolation.canaries import FIGURES, owners_in
from qa.isolation.cases import Cell, cells, parameters_of
from qa.isolation.snapshot import Traces, stray_turns, wait_until_settled
from qa.isolation.table import METHODS, Door, Id
from qa.isolation.tenant_fixtures import INVITED_EVERYWHERE, since
from qa.isolation.world import World
from tenants.webhooks.models import Event

MALFORMED = "not-an-id"

#: Refusals that the tenant's own audit trail may tell of.
_ON_RECORD = (401, 403)

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


class Matrix:
    """Asks and judges, and puts the world back in order. `fake` plays the provider."""

    def __init__(self, world: World, fake: FakeProvider) -> None:
        self.world = world
        self._fake = fake
        self._client = Client(raise_request_exception=False, REMOTE_ADDR="127.0.0.1")
        self._keep_figures_of("other admin")
        tenants = {estate.tenant.pk for estate in world.estates.values()}
        self._traces = Traces(connection.database, tenants)
        self._missing = str(ObjectId())

    # -- requests

    def ask(self, cell: Cell, query: str = "", also: dict[str, Any] | None = None, **extra: str) -> Answer:
        """Return the answer to a cell's request; a body of it says what is in `also`, too.

        `extra` are headers, as `request` takes them.
        """
        path = cell.route.replace("<path:name>", "default").replace("<path:rest>", "files")
        ids = dict(zip(parameters_of(cell.route), self._ids_of(cell), strict=True))
        path = re.sub(r"<\w+:(\w+)>", lambda match: ids[match[1]], path)
        body = self._body(cell, ids.get(cell.row.body_id))
        if body is not None:
            body |= also or {}
        return self.request(cell.method, f"/{path}{query}", cell.caller, cell.header, body, **extra)

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
        return RefreshToken.objects.issue(self.world.users[name], NO_SOURCE)

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
        if cell.method not in ("POST", "PUT", "PATCH"):
            return None
        if body_id is not None:
            return {cell.row.body_id: body_id, **({"message": "Hi"} if cell.route == "api/chat" else {})}
        if cell.route.endswith("/members"):
            return {"user": str(self.world.users["acquaintance"].pk), "role": "viewer"}
        return dict(_BODIES.get(cell.route, _BODIES.get(cell.route.rpartition("/")[2], {})))

    def _keep_figures_of(self, name: str) -> None:
        """Have the figures of a tenant rolled up, as they are once somebody has looked at them."""
        tenant = self.world.own(self.world[name]).tenant
        for interval in ("day", "week", "month"):
            path = f"/api/chat/tenants/{tenant.pk}/analytics?interval={interval}&from={since()}"
            self.request("GET", path, self.world[name])

    # -- judging

    def judge(self, cells: Iterable[Cell]) -> Report:
        """Judge cells of one route and method: those that are refused first, at two looks at the database."""
        report = Report()
        not_found: dict[tuple[str, str], list[tuple[Cell, Answer]]] = {}
        turned_away, sent_off, allowed = _split(cells)
        for refused in (turned_away, sent_off):
            for cell in refused:
                answer = self._judged(cell, report)
                if answer.status == 404:
                    not_found.setdefault((cell.caller.name, cell.header), []).append((cell, answer))
            if changed := refused and self.changed_by_refusal(refused[0]):
                report.failures.append(f"{refused[0]} or another refused caller changed {', '.join(changed)}")
            if self.changed_collections():
                self.restore()
        for group in not_found.values():
            report.failures += _telling_apart(group)
        for cell in allowed:
            self._judged(cell, report)
            report.failures += self.settle_and_restore(cell)
        return report

    def failures_of(self, cell: Cell) -> list[str]:
        """Judge one cell by itself; look at the database if it could have changed it."""
        report = Report()
        self._judged(cell, report)
        if cell.expected < 400:
            report.failures += self.settle_and_restore(cell)
        elif (cell.method != "GET" or cell.expected in _ON_RECORD) and self.changed_collections():
            if changed := self.changed_by_refusal(cell):
                report.failures.append(f"{cell} changed {', '.join(changed)}")
            self.restore()
        return report.failures

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

    def forget_what_was_sent(self) -> None:
        self._fake.reset()

    def fresh(self) -> None:
        """Put everything back in order, whatever was done."""
        if self._fake.log():
            wait_until_settled()
        self._fake.reset()
        self.restore()

    def settle_and_restore(self, cell: Cell) -> list[str]:
        """Wait for what an allowed request set off, see whom it touched, and undo it."""
        own = self.world.own(cell.caller).tenant.pk
        if self._fake.log():
            if stray := stray_turns(own):
                self.restore()
                return [f"{cell} left {', '.join(stray)}"]
            try:
                wait_until_settled()
            except TimeoutError as error:
                self.restore()
                return [f"{cell}: {error}"]
        touched = self.touched_beside(own)
        if touched or self.changed_collections():
            self.restore()
        return [f"{cell} changed {', '.join(touched)} of other tenants"] if touched else []

    def restore(self) -> None:
        self._traces.remove()

    def changed_collections(self) -> list[str]:
        return self._traces.changed()

    def changed_by_refusal(self, cell: Cell) -> list[str]:
        """Return what a refused request should not have changed: all, but a 401 and a 403 go on record."""
        if cell.expected in _ON_RECORD:
            return self._traces.changed_but_for_refusals()
        return self._traces.changed()

    def touched_beside(self, tenant_id: ObjectId) -> list[str]:
        """Return the collections in which something of other tenants is not as it was."""
        return self._traces.touched_beside(tenant_id)


def _split(cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell], list[Cell]]:
    """Return the cells that are refused for what the caller is, for what it asks for, and not at all."""
    turned_away, sent_off, allowed = [], [], []
    for cell in cells:
        lot = allowed if cell.expected < 400 else turned_away if cell.expected in _ON_RECORD else sent_off
        lot.append(cell)
    return turned_away, sent_off, allowed


def _telling_apart(answers: list[tuple[Cell, Answer]]) -> list[str]:
    """Return the 404s from which the caller could tell a foreign or malformed id from a missing one."""
    first_cell, first = answers[0]
    return [
        f"{cell}: its 404 differs from that of {first_cell}"
        for cell, answer in answers[1:]
        if answer.told != first.told
    ]


def judge_route(matrix: Matrix, route: str) -> Report:
    """Judge all cells of a route."""
    reports = (matrix.judge(cells(matrix.world, route, method)) for method in METHODS)
    return sum(reports, Report())
