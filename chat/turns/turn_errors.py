"""Why a message is refused or its reply has no complete answer, as domain errors.

Forbidden
├── StreamingNotInPlan
├── AccessEnded          revoked while the request was running
├── ModelNotAllowed
└── UnpricedRefused
Conflict
├── TurnRunning          the session's last message is still being answered
├── SessionClosed
├── SessionBusy          other messages kept coming in between
└── NotRetryable
Unprocessable
└── IdempotencyKeyReused

`reply_error` returns the error of a reply that is stored.
"""

from __future__ import annotations

import math
from typing import Any

from chat.models import Message
from chat.turns.attempts import StoredError
from chat.turns.reply import Reply
from core.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Gone,
    LimitReached,
    Unavailable,
    Unprocessable,
    UpstreamFailed,
)


class StreamingNotInPlan(Forbidden):
    default_code = "streaming_not_in_plan"
    default_detail = "This plan does not include streaming."


class AccessEnded(Forbidden):
    default_code = "access_ended"
    default_detail = "Your access to this conversation has ended."


class ModelNotAllowed(Forbidden):
    default_code = "model_not_allowed"


class UnpricedRefused(Forbidden):
    default_code = "model_unpriced"
    default_detail = "The price of this model is not known, and the plan allows priced models only."


class TurnRunning(Conflict):
    default_code = "turn_running"
    default_detail = (
        "This session's last message is still being answered. Wait for it, cancel it, "
        'or send with "concurrent": true.'
    )


class SessionClosed(Conflict):
    default_code = "session_closed"
    default_detail = "This session is closed. Set its status to active, or open another."


class SessionBusy(Conflict):
    default_code = "session_busy"
    default_detail = "Too many messages are being sent to this session at once."


class NotRetryable(Conflict):
    default_code = "not_retryable"
    default_detail = "Only a reply that failed, was cancelled or interrupted can be retried, 99 times."


class IdempotencyKeyReused(Unprocessable):
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used with another body. Use a new key for a new request."


#: Kind of a stored error -> the class and code of the error. All others are failures of the provider.
_ERRORS: dict[str, tuple[type[DomainError], str]] = {
    "blocked": (Unprocessable, "content_blocked"),
    "context_length": (Unprocessable, "context_too_long"),
    "bad_request": (Unprocessable, "provider_refused"),
    "unsupported": (Unprocessable, "provider_refused"),
    "rate_limit": (Unavailable, "providers_busy"),
    "no_target": (Unavailable, "no_provider"),
    "out_of_budget": (LimitReached, "quota_exceeded"),
    "budget_unknown": (Unavailable, "counter_unavailable"),
    "deleted": (Gone, "session_deleted"),
}

_DEFAULT_RETRY_SECONDS = 10

_UNKNOWN: StoredError = {"kind": "", "detail": "No provider gave an answer."}


def reply_error(reply: Reply) -> DomainError:
    """Return the error of a reply that has no complete answer. Its question stays; it can be retried."""
    error = reply.error or _UNKNOWN
    interrupted = reply.status == Message.Status.INTERRUPTED
    default = (UpstreamFailed, "reply_interrupted" if interrupted else "provider_failed")
    error_class, code = _ERRORS.get(error["kind"], default)
    extra: dict[str, Any] = {
        "session_id": str(reply.session_id),
        "message_id": str(reply.in_reply_to_id),
        "reply_id": str(reply.id),
        "reply_status": reply.status,
    }
    if limit := error.get("limit"):
        extra["limit"] = limit
    retry_after = None
    if issubclass(error_class, LimitReached | Unavailable):
        seconds = error.get("retry_after_seconds")
        if not seconds and not error.get("do_not_wait"):
            seconds = _DEFAULT_RETRY_SECONDS
        retry_after = math.ceil(seconds) if seconds else None
    return error_class(error["detail"], code, extra=extra, retry_after_seconds=retry_after)
