"""Logins and logouts in the audit trail, received from Django's own signals."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.lockout import record_login_denial
from accounts.models import User, normalised_email
from core.api.actors import source_of
from core.audit.models import AuditEvent


@receiver(user_logged_in, dispatch_uid="accounts.signals.login")
def record_login(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    if request is not None:
        AuditEvent.objects.record(user.as_actor(source_of(request)), "user.logged_in", user)


@receiver(user_logged_out, dispatch_uid="accounts.signals.logout")
def record_logout(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    """Sent by the console only; the API records its logouts itself."""
    if user is not None:
        AuditEvent.objects.record(user.as_actor(source_of(request)), "user.logged_out", user)


@receiver(user_login_failed, dispatch_uid="accounts.signals.login_failed")
def record_failed_login(
    credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    """Record each failure on its own: the lockout limits their number."""
    if request is not None:
        email = normalised_email(str(credentials.get("username") or ""))
        record_login_denial(request, email, "user.login_failed", "wrong_credentials", deduplicate=False)
