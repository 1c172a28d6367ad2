"""Logins in the audit trail: who came in, and who tried to. At the API and at the admin alike."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.models import User, normalised_email
from config.api.addresses import client_address
from tenants.models.audit import Actor, AuditEvent


@receiver(user_logged_in, dispatch_uid="tenants.logins.succeeded")
def record_login(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    if request is not None:
        AuditEvent.objects.record(_actor(request, user.email, user), "user.logged_in", user)


@receiver(user_login_failed, dispatch_uid="tenants.logins.failed")
def record_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Alike for known and unknown addresses: whose account it is nobody looks up."""
    if request is None:
        return
    email = normalised_email(str(credentials.get("username") or ""))[:254]
    actor = _actor(request, email, None)
    AuditEvent.objects.create(
        action="user.login_failed",
        actor_name=actor.name,
        target_type="user",
        target_name=email,
        address=actor.address,
        user_agent=actor.user_agent,
        request_id=actor.request_id,
    )


def _actor(request: HttpRequest, name: str, user: User | None) -> Actor:
    return Actor(
        name=name,
        user=user,
        address=client_address(request),
        user_agent=request.headers.get("User-Agent", "")[:300],
        request_id=getattr(request, "id", ""),
    )
