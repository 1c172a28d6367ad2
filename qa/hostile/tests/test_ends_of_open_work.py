"""Streams and running requests end within seconds of the access that they began with, on every worker.

Each kind of work is open for each event that ends its access, all at once, each in a tenant of its own; then
all events happen. The answers would take half a minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import requests
from django.utils import timezone

from accounts.models import User
from accounts.tokens import AccessToken
from chat.models import ChatSession, Message
from chat.visitors import VisitorToken
from qa.testing.server import RunningServer
from qa.testing.tenants import by, issue
from qa.testing.waiting import wait_until
from tenants.models import ApiKey, Plan, Tenant, Usage
from tenants.models.api_key import IssuedKey, Scope

SHOP = "https://shop.example"
LOGIN = "6b0978a48fd2150a28af9307"
MODEL = "groq/tokens-60-every-500ms"

#: Ends are seen by a check every two seconds. The bound is 5 s; the rest is for a busy machine.
BOUND_SECONDS = 10.0


@dataclass
class Work:
    """One open stream or running request, of a caller with a tenant of its own."""

    name: str
    tenant: Tenant
    member: User
    key: IssuedKey
    page_key: IssuedKey
    session: ChatSession
    status: int = 0
    code: str = ""
    ended_at: float = 0.0
    lines: list[str] = field(default_factory=list)

    def run(self, url: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        with requests.post(url + path, json=body, headers=headers, stream=True, timeout=60) as response:
            self.status = response.status_code
            for line in response.iter_lines():
                if line:
                    self.lines.append(line.decode())
        self.ended_at = time.monotonic()
        last = next((line for line in reversed(self.lines) if "{" in line), "{}")
        found = json.loads(last[last.index("{") :])
        self.code = (found.get("error") or found).get("code", "")


def member_headers(work: Work) -> dict[str, str]:
    return {"Authorization": f"Bearer {AccessToken.of_session(work.member.pk, LOGIN)}"}


def key_headers(work: Work) -> dict[str, str]:
    return {"X-API-Key": work.key.secret}


def visitor_headers(work: Work) -> dict[str, str]:
    key, session = work.page_key.key, work.session
    token = VisitorToken.give(work.tenant.pk, key.pk, session.visitor, SHOP, session.pk)
    return {"Authorization": f"Bearer {token.encode()}", "Origin": SHOP}


def openai_body(stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": MODEL, "stream": stream, "messages": messages}


def native(headers: Callable[[Work], dict[str, str]], stream: bool) -> Callable[[Work], tuple[Any, ...]]:
    body = {"message": "Hello", "stream": stream}
    return lambda work: (f"/api/chat/sessions/{work.session.pk}/messages", headers(work), body)


def openai(stream: bool) -> Callable[[Work], tuple[Any, ...]]:
    return lambda work: ("/v1/chat/completions", key_headers(work), openai_body(stream))


def change_key(which: str, **fields: Any) -> Callable[[Work], None]:
    return lambda work: ApiKey.objects.filter(pk=getattr(work, which).key.pk).update(**fields) and None


def past() -> Any:
    return timezone.now() - timedelta(seconds=1)


def deactivate(work: Work) -> None:
    work.member.update(is_active=False)


TENANT_EVENTS: dict[str, Callable[[Work], Any]] = {
    "suspension": lambda w: w.tenant.suspend(by(w.member)),
    "deletion": lambda w: w.tenant.soft_delete(by(w.member)),
}

MEMBER_EVENTS: dict[str, Callable[[Work], Any]] = {
    "logout": lambda w: w.member.end_session(LOGIN),
    "removal": lambda w: w.tenant.memberships.get(user=w.member).remove(by(w.member)),
    "lower role": lambda w: w.tenant.memberships.get(user=w.member).change_role("viewer", by(w.member)),
    "deactivation": deactivate,
    **TENANT_EVENTS,
}

KEY_EVENTS: dict[str, Callable[[Work], Any]] = {
    "revocation": lambda w: w.key.key.revoke(by(w.member)),
    "expiry": change_key("key", expires_at=past()),
    "fewer scopes": change_key("key", scopes=["sessions:read"]),
    "other networks": change_key("key", allowed_networks=["192.0.2.0/24"]),
    "other models": change_key("key", allowed_models=["gemini"]),
    **TENANT_EVENTS,
}

VISITOR_EVENTS: dict[str, Callable[[Work], Any]] = {
    "revocation": lambda w: w.page_key.key.revoke(by(w.member)),
    "expiry": change_key("page_key", expires_at=past()),
    "other origins of the key": change_key("page_key", allowed_origins=["https://other.example"]),
    "other origins of the tenant": lambda w: w.tenant.change(by(w.member), allowed_origins=[]),
    "other networks": change_key("page_key", allowed_networks=["192.0.2.0/24"]),
    **TENANT_EVENTS,
}

#: Kind of work -> how its request is made, and the events that end it.
KINDS: dict[str, tuple[Callable[[Work], tuple[Any, ...]], dict[str, Callable[[Work], Any]]]] = {
    "a member's stream": (native(member_headers, True), MEMBER_EVENTS),
    "a member's request": (native(member_headers, False), MEMBER_EVENTS),
    "a key's stream": (native(key_headers, True), KEY_EVENTS),
    "a key's request": (native(key_headers, False), KEY_EVENTS),
    "a visitor's stream": (native(visitor_headers, True), VISITOR_EVENTS),
    "a visitor's request": (native(visitor_headers, False), VISITOR_EVENTS),
    "an OpenAI client's stream": (openai(True), KEY_EVENTS),
    "an OpenAI client's request": (openai(False), KEY_EVENTS),
}


def world(name: str, number: int, plan: Plan, owner: User) -> Work:
    tenant = Tenant.objects.create_with_admin(
        name=name, plan=plan, by=by(owner), allowed_origins=[SHOP], route=[MODEL]
    )
    member = User.objects.create_user(f"member-{number}@example.com")
    tenant.memberships.create(user=member, role="developer")
    session = ChatSession.objects.create(tenant=tenant, visitor=f"v_{number}")
    key = issue(tenant, member, scopes=list(Scope.values))
    return Work(name, tenant, member, key, issue(tenant, member, kind="pk"), session)


@pytest.fixture
def works(alice: User) -> list[tuple[Work, Callable[[Work], tuple[Any, ...]], Callable[[Work], Any]]]:
    plan = Plan.objects.get(code="enterprise")

    def build() -> Iterator[Any]:
        number = 0
        for kind, (request, events) in KINDS.items():
            for event, happen in events.items():
                number += 1
                yield world(f"{kind}: {event}", number, plan, alice), request, happen

    return list(build())


def running_turns() -> int:
    return sum(usage["live"] for usage in Usage.collection().find({}, {"live": 1}))


def test_open_work_ends_with_the_access_it_began_with(product: RunningServer, works):
    threads = [
        Thread(target=work.run, args=(product.url, *request(work)), daemon=True) for work, request, _ in works
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: running_turns() == len(works), "all of them run")
    began = time.monotonic()
    for work, _, happen in works:
        happen(work)
    for thread in threads:
        thread.join(BOUND_SECONDS * 3)

    wrong = [
        (work.name, work.status, work.code, round(work.ended_at - began, 1))
        for work, *_ in works
        if work.code != "access_ended" or work.ended_at - began > BOUND_SECONDS
    ]
    assert not wrong
    assert not Message.objects.filter(status="streaming").exists()
