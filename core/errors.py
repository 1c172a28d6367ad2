"""Domain errors: violations of the product's rules. `core.api.errors` turns them into responses.

DomainError
├── InvalidInput         a value breaks a rule; `fields` names it            400
├── Forbidden            known, but not allowed                              403
├── NotFound             missing, or out of the caller's reach               404
├── Conflict             the current state does not allow it                 409
├── Gone                 deleted meanwhile                                   410
├── PreconditionFailed   changed since the caller read it (If-Match)         412
├── Unprocessable        understood, and cannot be done                      422
├── LimitReached         a limit is used up                                  429
├── UpstreamFailed       a provider gave no complete answer                  502
└── Unavailable          a service needed for it cannot be reached now       503

The status of each is in `core.api.problems`. Apps subclass these with a `code` and a sentence of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.limits import LimitUsage


class DomainError(Exception):
    """Base class. `code` is stable: clients decide by it. `detail` is a sentence that says what to change.

    `extra` are further members of the response body. `retry_after_seconds` is None where waiting
    does not help.
    """

    default_code = "error"
    default_detail = "The request can't be carried out."

    def __init__(
        self,
        detail: str | None = None,
        code: str | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        self.detail = detail or self.default_detail
        self.code = code or self.default_code
        self.extra = dict(extra or {})
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class InvalidInput(DomainError):
    """`fields` maps a field of the input to what is wrong with it."""

    default_code = "invalid"

    def __init__(self, fields: Mapping[str, Sequence[str]], code: str | None = None) -> None:
        self.fields = {name: list(sentences) for name, sentences in fields.items()}
        super().__init__(" ".join(sentence for sentences in fields.values() for sentence in sentences), code)


class Forbidden(DomainError):
    default_code = "permission_denied"
    default_detail = "You may not do this."


class NotFound(DomainError):
    default_code = "not_found"
    default_detail = "Not found."


class Conflict(DomainError):
    default_code = "conflict"
    default_detail = "The request conflicts with the present state."


class Gone(DomainError):
    default_code = "gone"
    default_detail = "It was deleted."


class PreconditionFailed(DomainError):
    default_code = "precondition_failed"
    default_detail = "The resource has changed since it was read. Read it again."


class Unprocessable(DomainError):
    default_code = "unprocessable"
    default_detail = "The request can't be processed."


class LimitReached(DomainError):
    """`usage` is the limit that is used up; None if it is a provider's."""

    default_code = "rate_limited"
    default_detail = "A limit is reached."

    def __init__(
        self,
        detail: str | None = None,
        code: str | None = None,
        *,
        usage: LimitUsage | None = None,
        extra: Mapping[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        if usage is not None:
            retry_after_seconds = usage.reset_seconds
        super().__init__(detail, code, extra=extra, retry_after_seconds=retry_after_seconds)
        self.usage = usage


class UpstreamFailed(DomainError):
    default_code = "provider_failed"
    default_detail = "The provider did not give an answer."


class Unavailable(DomainError):
    default_code = "unavailable"
    default_detail = "The service is not available right now. Try again shortly."

    def __init__(
        self,
        detail: str | None = None,
        code: str | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        retry_after_seconds: int = 2,
    ) -> None:
        super().__init__(detail, code, extra=extra, retry_after_seconds=retry_after_seconds)
