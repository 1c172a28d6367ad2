"""People in the audit trail: what they did with their accounts, and what they were not let do.

At the API, at the admin and by commands alike. It comes from accounts.events, and for logins from Django.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Model
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.events import account_changed, account_refused
from accounts.models import User, normalised_email
from core.api.actors import source_of
from core.audit.denials import record_denial
from core.audit.models import SYSTEM, Actor, AuditEvent


@receiver(account_changed, dispatch_uid="tenants.people.changed")
def record_change(
    action: str, target: Model, request: HttpRequest | None, changes: dict | None, **kwargs: Any
) -> None:
    AuditEvent.objects.record(_doer(request, target), action, target, changes=changes)


@receiver(user_logged_in, dispatch_uid="tenants.people.logged_in")
def record_login(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    if request is not None:
        AuditEvent.objects.record(
            Actor(user.email, user_id=user.pk, source=source_of(request)), "user.logged_in", user
        )


@receiver(user_logged_out, dispatch_uid="tenants.people.logged_out")
def record_logout(request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    """Of the console; that of the API is one of accounts.events."""
    if user is not None:
        AuditEvent.objects.record(
            Actor(user.email, user_id=user.pk, source=source_of(request)), "user.logged_out", user
        )


@receiver(user_login_failed, dispatch_uid="tenants.people.login_failed")
def record_failure(credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Each by itself: the lockout bounds their number. Whose account it is nobody looks up."""
    if request is not None:
        email = _shown(normalised_email(str(credentials.get("username") or "")))
        by = Actor(email, source=source_of(request))
        record_denial(by, "user.login_failed", "wrong_credentials", User(email=email), deduplicate=False)


@receiver(account_refused, dispatch_uid="tenants.people.refused")
def record_account_refusal(
    action: str, reason: str, request: HttpRequest, email: str, user: User | None, **kwargs: Any
) -> None:
    email = _shown(email)
    by = Actor(email, user_id=user and user.pk, source=source_of(request))
    record_denial(by, action, reason, user or User(email=email))


def _shown(email: str) -> str:
    """Return what was given as an e-mail address; what can't be one may be a password in the wrong field."""
    try:
        validate_email(email)
    except ValidationError:
        return "(no e-mail address)"
    return email[:254]


def _doer(request: HttpRequest | None, target: Model) -> Actor:
    """Return who sent `request`; whoever is signed in by it or not yet, that is `target`."""
    if request is None:
        return SYSTEM
    user = request.user if request.user.is_authenticated else target
    return Actor(user.email, user_id=user.pk, source=source_of(request))
