"""Guessing a password is stopped after a few failures, without locking its owner out.

Failures are counted for the pair of e-mail address and network address, known or not: a guesser is
stopped at his own address, the owner signs in from hers. The rate is `settings.RATES["auth.failures"]`.
"""

from __future__ import annotations

import hashlib
import math
import secrets

from django.core.cache import cache
from django.http import HttpRequest

from accounts.events import tell_refusal
from core.api.addresses import client_network
from core.api.limits import rate_limit_reached
from core.api.throttling import counted
from core.limits import LimitUsage


class LoginAttempts:
    """The attempts at one e-mail address from where `request` comes from."""

    def __init__(self, request: HttpRequest, email: str) -> None:
        self._request = request
        self._email = email
        self._pair = hashlib.sha256(f"{client_network(request)} {email}".encode()).hexdigest()
        self._usage: LimitUsage | None = None

    def begin(self) -> None:
        """Count an attempt. Raises LimitReached, a 429, when too many have failed.

        Counted before the password is looked at: guesses sent at once don't get past the limit.
        """
        # django-ratelimit can't set a count back, so the counter's name changes with each success.
        round_ = cache.get(self._round_key, "")
        self._usage = counted(self._request, "auth.failures", lambda group, request: f"{self._pair} {round_}")
        if self._usage and not self._usage.has_room_for(0):
            tell_refusal("user.locked_out", "too_many_failed_logins", self._request, email=self._email)
            minutes = math.ceil(self._usage.reset_seconds / 60)
            raise rate_limit_reached(
                self._usage,
                scope="e-mail and network address",
                detail=f"Too many failed logins. Try again in {minutes} minute{'s' * (minutes > 1)}.",
                code="too_many_failed_logins",
            )

    def succeed(self) -> None:
        """Forget the failures so far."""
        if self._usage:
            cache.set(self._round_key, secrets.token_hex(8), self._usage.reset_seconds + 1)

    @property
    def _round_key(self) -> str:
        return f"auth.failures.round:{self._pair}"
