"""Callers of the API and their credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

BEARER = "Authorization: Bearer"
API_KEY = "X-API-Key"
NO_CREDENTIAL = "no credential"


class Kind(StrEnum):
    ANONYMOUS = "anonymous"
    USER = "user"
    SECRET_KEY = "secret key"  # noqa: S105 - a kind of caller
    PUBLIC_KEY = "public key"
    VISITOR = "visitor"


class State(StrEnum):
    """Every state but VALID refuses a caller, whatever its rights."""

    VALID = "valid"
    INACTIVE = "inactive"
    UNUSABLE = "expired, revoked or of a deleted tenant"
    SUSPENDED = "of a suspended tenant"


@dataclass(frozen=True)
class Caller:
    """One caller with one credential.

    `home` names the fixtures whose ids are the caller's own. With `has_access` False it never had access
    to them, or lost it.
    """

    name: str
    kind: Kind
    home: str = "acme"
    credential: str = field(default="", repr=False)
    role: str = ""
    is_staff: bool = False
    scopes: tuple[str, ...] = ()
    has_access: bool = True
    state: State = State.VALID
    origin: str = ""

    @property
    def is_key(self) -> bool:
        return self.kind in (Kind.SECRET_KEY, Kind.PUBLIC_KEY)

    @property
    def header(self) -> str:
        """The header for this kind of credential."""
        if self.kind is Kind.ANONYMOUS:
            return NO_CREDENTIAL
        return API_KEY if self.is_key else BEARER

    @property
    def tried_headers(self) -> tuple[str, ...]:
        """The headers in which the credential is sent: the right one and the other one."""
        return (NO_CREDENTIAL,) if self.kind is Kind.ANONYMOUS else (BEARER, API_KEY)

    def request_headers(self, header: str) -> dict[str, str]:
        """Return the headers of a request, as Django's test client takes them."""
        headers = {"HTTP_ORIGIN": self.origin} if self.origin else {}
        if header == BEARER:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {self.credential}"
        elif header == API_KEY:
            headers["HTTP_X_API_KEY"] = self.credential
        return headers
