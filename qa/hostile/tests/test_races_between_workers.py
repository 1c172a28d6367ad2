"""Requests that change one object at once, sent to two workers: what interleavings find, by chance too."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
import requests

from accounts.models import User
from accounts.tokens import AccessToken
from chat.models import ChatSession, Message
from qa.testing.server import RunningServer
from qa.testing.tenants import by, fellow_member
from tenants.models import ApiKey, Membership, Plan, Tenant, Webhook, WebhookDelivery

pytestmark = pytest.mark.django_db

ROUNDS = 5
EVENTS = ("usage.unpriced", "api_key.revoked")

Send = Callable[..., requests.Response]


@pytest.fixture
def send(product: RunningServer, alice: User) -> Send:
    """Sends a request of Alice to the product, on a connection of its own."""
    headers = {"Authorization": f"Bearer {AccessToken.of_session(alice.pk, 'races')}"}

    def send(method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, product.url + path, json=body, headers=headers, timeout=60)

    return send


def at_once(*calls: Callable[[], requests.Response]) -> list[int]:
    """Return the statuses of calls that are sent at the same moment."""
    barrier = Barrier(len(calls))

    def call(one: Callable[[], requests.Response]) -> int:
        barrier.wait(timeout=30)
        return one().status_code

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def new_tenant(alice: User) -> Tenant:
    return Tenant.objects.create_with_admin(
        name="Race", plan=Plan.objects.get(code="enterprise"), by=by(alice)
    )


def test_changes_beside_the_deletion_of_a_session_do_not_restore_it(send: Send, acme: Tenant, alice: User):
    for _ in range(ROUNDS):
        session = ChatSession.objects.create(tenant=acme, user=alice)
        path = f"/api/chat/sessions/{session.pk}"
        changes = [partial(send, "PATCH", path, {"title": f"Title {number}"}) for number in range(4)]
        statuses = at_once(*changes, partial(send, "DELETE", path))

        assert statuses[-1] == 204
        assert set(statuses[:-1]) <= {200, 404}
        assert not ChatSession.objects.filter(pk=session.pk).exists()
        assert not Message.objects.filter(session_id=session.pk).exists()


def test_concurrent_changes_of_different_fields_lose_none(send: Send, acme: Tenant, alice: User):
    fields = {"title": "T", "temperature": 0.5, "max_tokens": 9, "system_prompt": "P", "metadata": {"a": 1}}
    for _ in range(ROUNDS):
        session = ChatSession.objects.create(tenant=acme, user=alice)
        path = f"/api/chat/sessions/{session.pk}"
        statuses = at_once(*(partial(send, "PATCH", path, {name: value}) for name, value in fields.items()))

        stored = send("GET", path).json()
        assert set(statuses) == {200}
        assert {name: stored[name] for name in fields} == fields


def test_a_member_is_removed_and_changed_at_once(send: Send, acme: Tenant, alice: User):
    fellow = fellow_member(alice)
    path = f"/api/tenants/{acme.pk}/members/{fellow.pk}"
    for _ in range(ROUNDS):
        Membership.objects.create(tenant=acme, user=fellow, role="viewer")
        changes = [partial(send, "PATCH", path, {"role": role}) for role in ("admin", "developer", "viewer")]
        statuses = at_once(*changes, *[partial(send, "DELETE", path)] * 3)

        assert set(statuses[:3]) <= {200, 404}
        assert sorted(statuses[3:]) == [204, 404, 404]
        assert not acme.memberships.filter(user=fellow).exists()


def test_a_webhook_is_deleted_changed_and_tested_at_once(send: Send, acme: Tenant, alice: User):
    for _ in range(ROUNDS):
        fields = {"url": "https://hooks.example.com/", "events": ["api_key.issued"], "enabled": False}
        webhook = Webhook.objects.register(acme, by=by(alice), **fields).webhook
        path = f"/api/tenants/{acme.pk}/webhooks/{webhook.pk}"
        changes = [partial(send, "PATCH", path, {"enabled": False, "events": [event]}) for event in EVENTS]
        tests = [partial(send, "POST", f"{path}/test")] * 2
        statuses = at_once(*changes, *tests, *[partial(send, "DELETE", path)] * 2)

        assert set(statuses[:2]) <= {200, 404}
        assert set(statuses[2:4]) <= {202, 404}
        assert sorted(statuses[4:]) == [204, 404]
        assert not Webhook.objects.filter(pk=webhook.pk).exists()
        assert not WebhookDelivery.objects.filter(webhook_id=webhook.pk).exists()


def test_nothing_is_created_in_a_tenant_after_its_deletion(send: Send, alice: User):
    for _ in range(ROUNDS):
        tenant = new_tenant(alice)
        path = f"/api/tenants/{tenant.pk}"
        webhook = {"url": "https://hooks.example.com/", "events": ["api_key.issued"]}
        statuses = at_once(
            *[partial(send, "POST", f"{path}/api-keys", {"name": "New"})] * 2,
            *[partial(send, "POST", f"{path}/webhooks", webhook)] * 2,
            partial(send, "POST", "/api/chat/sessions", {"tenant_id": str(tenant.pk)}),
            partial(send, "DELETE", path),
        )

        assert statuses[-1] == 204
        assert set(statuses[:-1]) <= {201, 404}
        assert send("POST", f"{path}/api-keys", {"name": "Late"}).status_code == 404
        assert ApiKey.objects.filter(tenant=tenant).count() == statuses[:2].count(201)
        assert Webhook.objects.filter(tenant=tenant).count() == statuses[2:4].count(201)
        assert ChatSession.objects.filter(tenant=tenant).count() == statuses[4:5].count(201)
