"""The matrix: every route of the resolver x method x caller x header x ids, requested and checked.

A case is checked for

- its status, which the table states;
- the owners of the canaries in its answer, and in what the provider received because of it;
- its 404, which must not differ from that of a missing id;
- its caching: no cache may store it, and `Vary` names the headers of credentials;
- the documents: a refused request changes none at all, an allowed one none of another tenant.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from django.test import Client

from accounts.models import RefreshToken
from accounts.tokens import TokenPair
from core.audit.models import NO_SOURCE
from qa.fake_provider.server import FakeProvider
from qa.isolation.callers import Caller, Kind
from qa.isolation.canaries import NUMBERS, owners_in
from qa.isolation.cases import Case, cases_of, parameters_of
from qa.isolation.changes import ChangeDetector, misplaced_turns, wait_until_settled
from qa.isolation.dataset import Dataset
from qa.isolation.table import METHODS, PUBLIC, ROUTES, Id
from qa.isolation.tenant_fixtures import INVITED_BY_ALL, analytics_from
from tenants.models import Tenant
from tenants.webhooks.models import Event

MALFORMED_ID = "not-an-id"

#: Refusals that the tenant's own audit trail may record.
_AUDITED_STATUSES = (401, 403)

#: Bodies that the unsafe methods of a route accept, by its whole path or its last part.
_BODIES: dict[str, dict[str, Any]] = {
    "api/tenants": {"name": "New"},
    "<str:tenant_id>": {"name": "Renamed"},
    "<str:user_id>": {"role": "admin"},
    "invitations": {"email": INVITED_BY_ALL, "role": "viewer"},
    "accept": {"token": "inv_missing"},
    "api-keys": {"name": "New"},
    "<str:session_id>": {"title": "Renamed"},
    "messages": {"message": "Hi"},
    "webhooks": {"url": "https://93.184.216.34/", "events": [Event.values[0]]},
    "<str:webhook_id>": {"enabled": False},
    "feedback": {"rating": "down"},
    "profile": {"name": "Renamed"},
    "test": {"provider": 5},
    "visitor-tokens": {"visitor": "v_new"},
    "completions": {"model": "default", "messages": [{"role": "user", "content": "Hi"}]},
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: Any) -> Answer:
        body = b"".join(response.streaming_content) if response.streaming else response.content
        response.close()
        return cls(response.status_code, dict(response.items()), body)

    @property
    def observable(self) -> tuple[dict[str, str], str]:
        """Headers and text without the request's id: what a caller can compare with another answer."""
        headers = {name: value for name, value in self.headers.items() if name != "X-Request-ID"}
        return headers, re.sub(r'"request_id":\s*"[^"]*"', '"request_id":""', self.text)

    def is_kept_from_caches(self, route: str) -> bool:
        varies_by = {name.strip() for name in self.headers.get("Vary", "").split(",")}
        may_be_stored = "no-store" not in self.headers.get("Cache-Control", "")
        is_for_all = not route.startswith(("api/", "v1/"))
        return not may_be_stored and (is_for_all or varies_by >= {"Authorization", "X-API-Key"})

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Report:
    """Counts of checked cases by caller, and the failures."""

    cases: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: Report) -> Report:
        return Report(self.cases + other.cases, self.failures + other.failures)


class Matrix:
    """Requests and checks cases, and restores the dataset. `fake` plays the provider."""

    def __init__(self, dataset: Dataset, fake: FakeProvider) -> None:
        self.dataset = dataset
        self._fake = fake
        self._client = Client(raise_request_exception=False, REMOTE_ADDR="127.0.0.1")
        self._roll_up_analytics_of("other admin")
        tenants = {fixtures.tenant.pk for fixtures in dataset.fixtures.values()}
        self._changes = ChangeDetector(Tenant.collection().database, tenants)
        self._missing_id = str(ObjectId())

    # -- requests

    def request_case(
        self, case: Case, query: str = "", *, fields: Mapping[str, Any] | None = None, **headers: str
    ) -> Answer:
        """Return the answer to a case's request; `fields` are added to its body if it has one.

        `headers` are as `request` takes them.
        """
        path = case.route.replace("<path:name>", "default").replace("<path:rest>", "files")
        ids = dict(zip(parameters_of(case.route), self._ids_of(case), strict=True))
        path = re.sub(r"<\w+:(\w+)>", lambda match: ids[match[1]], path)
        body = self.body(case.route, case.method, ids.get(case.row.body_id))
        if body is not None:
            body |= fields or {}
        return self.request(case.method, f"/{path}{query}", case.caller, case.header, body, **headers)

    def request(
        self,
        method: str,
        path: str,
        caller: Caller,
        header: str | None = None,
        body: Any = None,
        **headers: str,
    ) -> Answer:
        """Return the answer to any request; `headers` are as Django's client takes them: HTTP_IF_MATCH."""
        extra: dict[str, Any] = caller.request_headers(caller.header if header is None else header) | headers
        data = b"" if body is None else json.dumps(body).encode()
        response = self._client.generic(
            method, path, data, content_type="application/json" if data else "", **extra
        )
        return Answer.of(response)

    def log_in(self, name: str) -> TokenPair:
        """Return the tokens of a new session of a user of the dataset."""
        return RefreshToken.objects.issue(self.dataset.users[name], NO_SOURCE)

    def provider_requests(self) -> list[Any]:
        """Return the bodies that providers received since the fake one was reset."""
        return [entry.body for entry in self._fake.log()]

    def _ids_of(self, case: Case) -> list[str]:
        own, foreign = self.dataset.own(case.caller), self.dataset.foreign(case.caller)
        named = {
            Id.OWN: lambda name: str(own.id_of(name)),
            Id.FOREIGN: lambda name: str(foreign.id_of(name)),
            Id.MISSING: lambda name: self._missing_id,
            Id.MALFORMED: lambda name: MALFORMED_ID,
        }
        return [named[which](name) for name, which in zip(parameters_of(case.route), case.ids, strict=True)]

    def body(self, route: str, method: str, body_id: str | None) -> dict[str, Any] | None:
        """Return a body that the route accepts; `body_id` is the id in it, None for a route without."""
        if method not in ("POST", "PUT", "PATCH"):
            return None
        if body_id is not None:
            return {ROUTES[route].body_id: body_id, **({"message": "Hi"} if route == "api/chat" else {})}
        if route.endswith("/members"):
            return {"user": str(self.dataset.users["fellow member"].pk), "role": "viewer"}
        return dict(_BODIES.get(route) or _BODIES.get(route.rpartition("/")[2], {}))

    def _roll_up_analytics_of(self, name: str) -> None:
        """Request all analytics of a tenant: its rollups are stored then."""
        tenant = self.dataset.own(self.dataset[name]).tenant
        for interval in ("day", "week", "month"):
            path = f"/api/chat/tenants/{tenant.pk}/analytics?interval={interval}&from={analytics_from()}"
            self.request("GET", path, self.dataset[name])

    # -- checks

    def check(self, cases: Iterable[Case]) -> Report:
        """Check cases of one route and method. The database is compared once for each kind of refusal."""
        report = Report()
        not_found: dict[tuple[str, str], list[tuple[Case, Answer]]] = {}
        denied, not_found_or_invalid, allowed = _split(cases)
        for refused in (denied, not_found_or_invalid):
            for case in refused:
                answer = self._check_answer(case, report)
                if answer.status == 404:
                    not_found.setdefault((case.caller.name, case.header), []).append((case, answer))
            if changed := refused and self.changed_by_refusal(refused[0]):
                report.failures.append(f"{refused[0]} or another refused caller changed {', '.join(changed)}")
            if self.changed_collections():
                self.restore()
        for group in not_found.values():
            report.failures += _distinguishable(group)
        for case in allowed:
            self._check_answer(case, report)
            report.failures += self.settle_and_restore(case)
        return report

    def failures_of(self, case: Case) -> list[str]:
        """Check one case by itself, and the database if the case could have changed it."""
        report = Report()
        self._check_answer(case, report)
        if case.expected < 400:
            report.failures += self.settle_and_restore(case)
        elif (case.method != "GET" or case.expected in _AUDITED_STATUSES) and self.changed_collections():
            if changed := self.changed_by_refusal(case):
                report.failures.append(f"{case} changed {', '.join(changed)}")
            self.restore()
        return report.failures

    def _check_answer(self, case: Case, report: Report) -> Answer:
        report.cases[case.caller.name] += 1
        self._fake.reset()
        answer = self.request_case(case)
        if answer.status != case.expected:
            report.failures.append(f"{case}: {answer.status} instead of {case.expected}")
        if not answer.is_kept_from_caches(case.route):
            report.failures.append(f"{case}: caches may store the answer")
        if shown := owners_in(answer.text + str(answer.headers)) - self._owners_in_answer(case):
            report.failures.append(f"{case}: the answer shows data of {', '.join(sorted(shown))}")
        if sent := owners_in(str(self.provider_requests())) - self._owners_at_provider(case):
            report.failures.append(f"{case}: the provider received data of {', '.join(sorted(sent))}")
        return answer

    def _owners_in_answer(self, case: Case) -> set[str]:
        """Return the owners whose data the answer may show."""
        if case.expected >= 400 or case.row.policy is PUBLIC:
            return set()
        if "session_id" in parameters_of(case.route):
            return {self._session_owner(case)} | ({NUMBERS} if case.caller.home == "umbrella" else set())
        return self.dataset.owners_visible_to(case.caller)

    def _owners_at_provider(self, case: Case) -> set[str]:
        """Return the owners whose data the provider may receive: the system prompt, this conversation."""
        if case.expected >= 400:
            return set()
        tenant = {"visitor": "acme"}.get(case.caller.home, case.caller.home)
        return {tenant, self._session_owner(case)} if "session_id" in parameters_of(case.route) else {tenant}

    def _session_owner(self, case: Case) -> str:
        return "acme.visitor" if case.caller.kind is Kind.VISITOR else f"{case.caller.home}.session"

    # -- the database

    def reset_provider(self) -> None:
        self._fake.reset()

    def reset(self) -> None:
        """Restore provider and database after any request."""
        if self._fake.log():
            wait_until_settled()
        self._fake.reset()
        self.restore()

    def settle_and_restore(self, case: Case) -> list[str]:
        """Wait for the turns that an allowed request started; return its changes of others; undo all."""
        own = self.dataset.own(case.caller).tenant.pk
        if self._fake.log():
            if misplaced := misplaced_turns(own):
                self.restore()
                return [f"{case} left {', '.join(misplaced)}"]
            try:
                wait_until_settled()
            except TimeoutError as error:
                self.restore()
                return [f"{case}: {error}"]
        changed = self.changed_for_others(own)
        if changed or self.changed_collections():
            self.restore()
        return [f"{case} changed {', '.join(changed)} of other tenants"] if changed else []

    def restore(self) -> None:
        self._changes.restore()

    def changed_collections(self) -> list[str]:
        return self._changes.changed()

    def changed_by_refusal(self, case: Case) -> list[str]:
        """Return the collections that a refused request should not have changed. A 401 or 403 is audited."""
        if case.expected in _AUDITED_STATUSES:
            return self._changes.changed_except_denials()
        return self._changes.changed()

    def changed_for_others(self, tenant_id: ObjectId) -> list[str]:
        """Return the collections in which documents of other tenants have changed."""
        return self._changes.changed_for_others(tenant_id)


def _split(cases: Iterable[Case]) -> tuple[list[Case], list[Case], list[Case]]:
    """Return the cases refused with a 401 or 403, those refused otherwise, and the allowed ones."""
    denied: list[Case] = []
    otherwise: list[Case] = []
    allowed: list[Case] = []
    for case in cases:
        if case.expected < 400:
            allowed.append(case)
        else:
            (denied if case.expected in _AUDITED_STATUSES else otherwise).append(case)
    return denied, otherwise, allowed


def _distinguishable(answers: list[tuple[Case, Answer]]) -> list[str]:
    """Return the 404s by which a caller could distinguish a foreign or malformed id from a missing one."""
    first_case, first = answers[0]
    return [
        f"{case}: its 404 differs from that of {first_case}"
        for case, answer in answers[1:]
        if answer.observable != first.observable
    ]


def check_route(
    matrix: Matrix, route: str, select: Callable[[Iterable[Case]], Iterable[Case]] = list
) -> Report:
    """Check all cases of a route, or those that `select` returns."""
    reports = (matrix.check(select(cases_of(matrix.dataset, route, method))) for method in METHODS)
    return sum(reports, Report())
