"""Users, keys and plans of tests, clients that use them, and the problem an answer reports."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tokens import AccessToken
from core.audit.models import Actor
from tenants.models import ApiKey, Plan, Tenant
from tenants.models.api_key import IssuedKey


def create_user(name: str) -> User:
    return User.objects.create_user(f"{name}@example.com", name=name.title())


def fellow_member(user: User, role: str = "admin") -> User:
    """Return the administrator of another tenant, in which `user` has `role`."""
    other = create_user("carol")
    tenant = Tenant.objects.create_with_admin(name="Common", by=by(other))
    tenant.memberships.create(user=user, role=role)
    return other


def by(user: User) -> Actor:
    return user.as_actor()


def signed_in(user: User) -> APIClient:
    token = AccessToken.of_session(user.pk, uuid.uuid4().hex)
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")


def issue(tenant: Tenant, user: User, **fields: Any) -> IssuedKey:
    fields = {"name": "Site", "kind": "sk", "environment": "live", **fields}
    return ApiKey.objects.issue(tenant, by=by(user), **fields)


def with_key(secret: str, **headers: Any) -> APIClient:
    return APIClient(HTTP_X_API_KEY=secret, **headers)


def limited(tenant: Tenant, **limits: Any) -> Tenant:
    """Move `tenant` to a new plan with these limits and no others."""
    everything = ("requests_per_minute", "concurrent_turns", "messages_per_month", "tokens_per_month")
    unlimited = dict.fromkeys([*everything, "cost_per_month", "max_api_keys", "max_members"])
    plan = Plan.objects.create(code=uuid.uuid4().hex[:8], name="Test", **{**unlimited, **limits})
    tenant.update(plan=plan)
    return tenant


def problem(response: Any, status: int) -> str:
    """Return the code of the problem that `response` is, with this status."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    code: str = response.json()["code"]
    return code


def middle_of_next_hour() -> datetime:
    """Return a time whose hour and minute do not end soon.

    It is in the future: documents that expire in the past are removed by the database at any moment.
    """
    return (timezone.now() + timedelta(hours=1)).replace(minute=30, second=1)
