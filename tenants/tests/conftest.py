"""The cast: alice administers Acme, dave develops it, bob views it; mallory administers Umbrella."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tokens import AccessToken
from tenants.models import ApiKey, Plan, Tenant
from tenants.models.api_key import IssuedKey
from tenants.models.audit import Actor


def person(name: str) -> User:
    return User.objects.create_user(f"{name}@example.com", name=name.title())


def amid_an_hour() -> datetime:
    """Return a moment whose hour and minute are not about to end.

    It lies ahead: what should expire after a moment gone by, the database removes at its own next look.
    """
    return (timezone.now() + timedelta(hours=1)).replace(minute=30, second=1)


def acquaintance(of: User, role: str = "admin") -> User:
    """Return a member of another tenant that `of` administers."""
    other = person("carol")
    common = Tenant.objects.open(name="Common", by=by(other))
    common.memberships.create(user=of, role=role)
    return other


def signed_in(user: User) -> APIClient:
    token = AccessToken.of_session(user.pk, uuid.uuid4().hex)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")


def with_key(secret: str, **headers: str) -> APIClient:
    return APIClient(HTTP_X_API_KEY=secret, **headers)


@pytest.fixture
def alice(db) -> User:
    return person("alice")


@pytest.fixture
def dave(db) -> User:
    return person("dave")


@pytest.fixture
def bob(db) -> User:
    return person("bob")


@pytest.fixture
def mallory(db) -> User:
    return person("mallory")


@pytest.fixture
def acme(alice, dave, bob) -> Tenant:
    tenant = Tenant.objects.open(name="Acme", plan=Plan.objects.get(code="pro"), by=by(alice))
    tenant.memberships.create(user=dave, role="developer")
    tenant.memberships.create(user=bob, role="viewer")
    return tenant


@pytest.fixture
def umbrella(mallory) -> Tenant:
    return Tenant.objects.open(name="Umbrella", plan=Plan.objects.get(code="pro"), by=by(mallory))


@pytest.fixture
def secret_key(acme, alice) -> IssuedKey:
    return issue(acme, alice, scopes=["usage:read", "sessions:read"])


@pytest.fixture
def public_key(acme, alice) -> IssuedKey:
    return issue(acme, alice, kind="pk", allowed_origins=["https://shop.example"])


def by(user: User) -> Actor:
    return Actor(user.email, user=user)


def issue(tenant: Tenant, user: User, **fields) -> IssuedKey:
    fields = {"name": "Site", "kind": "sk", "environment": "live", **fields}
    return ApiKey.objects.issue(tenant, by=by(user), **fields)


def limited(tenant: Tenant, **limits) -> Tenant:
    """Put `tenant` on a plan of its own that limits nothing but what is named."""
    everything = ("requests_per_minute", "concurrent_turns", "messages_per_month", "tokens_per_month")
    unlimited = dict.fromkeys([*everything, "cost_per_month", "max_api_keys", "max_members"])
    plan = Plan.objects.create(code=uuid.uuid4().hex[:8], name="Test", **{**unlimited, **limits})
    tenant.plan = plan
    tenant.save()
    return tenant


def problem(response: Response, status: int) -> str:
    """Return the code of a problem, having seen that it is one."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()["code"]


def at_once(*actions: Callable[[], object]) -> list[object]:
    """Run all actions in threads that start together; return what each returned or raised."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return action()
        except Exception as error:  # the outcome under test
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def eventually(holds: Callable[[], bool], *, within_seconds: float = 5) -> None:
    """Wait until `holds()`; fail after `within_seconds`."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
