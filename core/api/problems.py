"""RFC 9457 problem details: the body of every error of the API.

    {"type", "title", "status", "code", "detail", "errors": [{"field", "code", "detail"}], "request_id"}

`code` is stable: clients decide by it. A body never holds a traceback, a provider's words or a secret.
No web framework is imported here: a stream reports errors in the same form after its headers are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

from core.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Gone,
    InvalidInput,
    LimitReached,
    NotFound,
    PreconditionFailed,
    Unavailable,
    Unprocessable,
    UpstreamFailed,
)

CONTENT_TYPE = "application/problem+json"

#: The status of each domain error. A subclass has that of its nearest parent in here.
STATUSES: dict[type[DomainError], int] = {
    InvalidInput: 400,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    PreconditionFailed: 412,
    Unprocessable: 422,
    LimitReached: 429,
    UpstreamFailed: 502,
    Unavailable: 503,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: a path such as `settings.route.0`, None for the whole input."""

    field: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """An error response; `extra` are members beside those of every problem."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, error: DomainError) -> ProblemDetails:
        """Return the problem of a domain error."""
        if isinstance(error, InvalidInput):
            return cls.invalid(
                [
                    FieldError(name, error.code, sentence)
                    for name, sentences in error.fields.items()
                    for sentence in sentences
                ]
            )
        wait = error.retry_after_seconds
        return cls(
            next(STATUSES[parent] for parent in type(error).__mro__ if parent in STATUSES),
            error.code,
            error.detail,
            headers={} if wait is None else {"Retry-After": str(wait)},
            extra=error.extra,
        )

    @classmethod
    def invalid(cls, rows: Sequence[FieldError]) -> ProblemDetails:
        """Return the 400 of invalid input; `detail` describes its first error."""
        detail = ""
        if rows:
            detail = f"{rows[0].field}: {rows[0].detail}" if rows[0].field else rows[0].detail
        return cls(400, "invalid", detail, rows)

    def body(self, request_id: str) -> dict[str, Any]:
        return {
            "type": f"urn:chat-agent:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "errors": [asdict(row) for row in self.errors],
            "request_id": request_id,
            **self.extra,
        }
