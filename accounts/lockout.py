"""Lockout: password guessing is stopped after a few failures, without locking the account's owner out.

Failures are counted per pair of e-mail address and client network, whether or not the address is
registered: an attacker is locked out at their own network, the owner still logs in from elsewhere.
The limit is `settings.RATES["auth.failures"]`.
"""

from __future__ import annotations

import hashlib
import math
import secrets

from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest

from accounts.models import User
from core.api.actors import source_of
from core.api.addresses import client_network
from core.api.limits import rate_limit_reached
from core.api.throttling import counted, rate_key
from core.audit.denials import record_denial
from core.audit.models import Actor
from core.limits import LimitUsage


class LoginAttempts:
    """The login attempts for one e-mail address from the network of `request`."""

    def __init__(self, request: HttpRequest, email: str) -> None:
        self._request = request
        self._email = email
        self._pair = hashlib.sha256(f"{client_network(request)} {email}".encode()).hexdigest()
        self._usage: LimitUsage | None = None

    def begin(self) -> None:
        """Count an attempt. Raises LimitReached, a 429, after too many failures.

        Counted before the password is checked, so that concurrent guesses can't exceed the limit.
        """
        # django-ratelimit can't reset a counter, so each success changes the counter's name.
        generation = cache.get(self._generation_key, "")
        self._usage = counted(
            self._request, "auth.failures", lambda group, request: f"{self._pair} {generation}"
        )
        if self._usage and not self._usage.has_room_for(0):
            record_login_denial(self._request, self._email, "user.locked_out", "too_many_failed_logins")
            minutes = math.ceil(self._usage.reset_seconds / 60)
            raise rate_limit_reached(
                self._usage,
                scope="e-mail and network address",
                detail=f"Too many failed logins. Try again in {minutes} minute{'s' * (minutes > 1)}.",
                code="too_many_failed_logins",
            )

    def succeed(self) -> None:
        """Reset the count of failures."""
        if self._usage:
            cache.set(self._generation_key, secrets.token_hex(8), self._usage.reset_seconds + 1)

    @property
    def _generation_key(self) -> str:
        return f"auth.failures.round:{self._pair}"


def require_login_rate(request: HttpRequest) -> None:
    """Count a login outside of the REST API. Raises LimitReached, at the same rate as for a login there."""
    usage = counted(request, "auth.login", rate_key)
    if usage and not usage.has_room_for(0):
        raise rate_limit_reached(usage, scope="address")


def record_login_denial(
    request: HttpRequest, email: str, action: str, reason: str, *, deduplicate: bool = True
) -> None:
    """Record a denied login in the audit trail. The account is not looked up: it may not exist."""
    email = _valid_email(email)
    actor = Actor(email, source=source_of(request))
    record_denial(actor, action, reason, User(email=email), deduplicate=deduplicate)


def _valid_email(text: str) -> str:
    """Return `text` if it can be an e-mail address; anything else may be a password in the wrong field."""
    try:
        validate_email(text)
    except ValidationError:
        return "(no e-mail address)"
    return text[:254]
