"""A signed-in user as a caller of the API."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from core.callers import Caller


@dataclass(frozen=True)
class UserCaller(Caller):
    """Holds an access token of the login `login_session`."""

    user: User
    login_session: str

    @property
    def rate_key(self) -> str:
        return f"user:{self.user.pk}"

    @property
    def rate_scope(self) -> str:
        return "user"
