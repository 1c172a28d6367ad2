"""Everybody who may knock: who they are and what they show at the door."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

BEARER = "Authorization: Bearer"
API_KEY = "X-API-Key"
NOTHING = "no credential"


class Kind(StrEnum):
    NOBODY = "nobody"
    PERSON = "person"
    SECRET_KEY = "secret key"  # noqa: S105 - a kind of caller
    PUBLIC_KEY = "public key"
    VISITOR = "visitor"


class State(StrEnum):
    """What keeps a caller out whatever it may otherwise do."""

    GOOD = "good"
    INACTIVE = "inactive"
    UNUSABLE = "expired, revoked or of a deleted tenant"
    SUSPENDED = "of a suspended tenant"


@dataclass(frozen=True)
class Caller:
    """`home` names whose ids are the caller's own; `belongs` False: it has no part in that, or lost it."""

    name: str
    kind: Kind
    home: str = "acme"
    credential: str = field(default="", repr=False)
    role: str = ""
    scopes: tuple[str, ...] = ()
    belongs: bool = True
    state: State = State.GOOD
    origin: str = ""

    @property
    def is_key(self) -> bool:
        return self.kind in (Kind.SECRET_KEY, Kind.PUBLIC_KEY)

    @property
    def header(self) -> str:
        """Where this kind of credential belongs."""
        if self.kind is Kind.NOBODY:
            return NOTHING
        return API_KEY if self.is_key else BEARER

    @property
    def headers(self) -> tuple[str, ...]:
        """Where it is tried: where it belongs, and in the other header."""
        return (NOTHING,) if self.kind is Kind.NOBODY else (BEARER, API_KEY)

    def shown_in(self, header: str) -> dict[str, str]:
        """Return the request's headers, as Django's test client takes them."""
        shown = {"HTTP_ORIGIN": self.origin} if self.origin else {}
        if header == BEARER:
            shown["HTTP_AUTHORIZATION"] = f"Bearer {self.credential}"
        elif header == API_KEY:
            shown["HTTP_X_API_KEY"] = self.credential
        return shown
