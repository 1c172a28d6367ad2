"""Password authentication for the API and the admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from accounts.lockout import LoginAttempts
from accounts.models import User, normalised_email


class EmailBackend(ModelBackend):
    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Return the active user with this e-mail address and password, else None.

        One password hash is computed in every case, so the response time does not reveal whether the
        address is registered. Raises core.errors.LimitReached after too many failures; without a
        request, such as in a shell, attempts are not counted.
        """
        email = normalised_email(username or kwargs.get("email") or "")
        if not email or password is None:
            return None
        attempts = LoginAttempts(request, email) if request is not None else None
        if attempts:
            attempts.begin()
        user = super().authenticate(request, username=email, password=password)
        if not isinstance(user, User):
            return None
        if attempts:
            attempts.succeed()
        return user
