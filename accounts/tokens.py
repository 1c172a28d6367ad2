"""The two JSON Web Tokens (RFC 7519) of a session, each signed with a secret of its own.

Both are HS256 with `iss`, `aud`, `exp`, `iat`, `jti`, `token_type`, `sub` (the user's id) and `sid`
(the session). Decoding checks all of these. It raises simplejwt's `TokenError`; for a token that is
only too old the subclass `ExpiredTokenError`. A token may be from a machine whose clock is `LEEWAY`
seconds ahead, but ends on time: a client that refreshes it a little early loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token


def _signed_with(secret: str) -> TokenBackend:
    return TokenBackend(
        algorithm=api_settings.ALGORITHM,
        signing_key=secret,
        audience=api_settings.AUDIENCE,
        issuer=api_settings.ISSUER,
        leeway=api_settings.LEEWAY,
    )


class SessionToken(Token):
    @classmethod
    def of_session(cls, user_id: object, session: str) -> Self:
        """Return a new token of a session."""
        token = cls()
        token["sub"] = str(user_id)
        token["sid"] = session
        return token

    @classmethod
    def decode(cls, encoded: str | bytes) -> Self:
        """Return the token that a client sent. Raises TokenError unless it is valid."""
        return cls(encoded)  # type: ignore[arg-type]  # Annotated as Token, it takes an encoded token.

    def verify(self) -> None:
        super().verify()
        if self["exp"] <= self.current_time.timestamp():
            raise ExpiredTokenError("Token has expired")
        if "sub" not in self or "sid" not in self:
            raise TokenError("Token has no user or no session")


class AccessToken(SessionToken):
    token_type = "access"  # noqa: S105 - the type's name, not a secret
    lifetime = api_settings.ACCESS_TOKEN_LIFETIME
    _token_backend = _signed_with(api_settings.SIGNING_KEY)


class RefreshToken(SessionToken):
    token_type = "refresh"  # noqa: S105 - the type's name, not a secret
    lifetime = api_settings.REFRESH_TOKEN_LIFETIME
    _token_backend = _signed_with(settings.JWT_REFRESH_SECRET)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Both tokens of a client, encoded. `session` is the id of their session."""

    access: str
    refresh: str
    session: str

    def __repr__(self) -> str:
        return f"<TokenPair of session {self.session}>"
