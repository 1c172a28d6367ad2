"""How a reply is told: the first and last events of a stream, or a problem."""

from __future__ import annotations

from typing import Any

from chat.models import Message
from chat.serializers import message_data
from chat.turns.sse import TurnEvent
from core.api.problems import ProblemDetails
from core.errors import DomainError, Gone, LimitReached, Unavailable, Unprocessable, UpstreamFailed
from core.logs import request_id

Status = Message.Status

#: Error kind of a provider -> the error and code of ours. The rest is a failure of the provider.
_ERRORS: dict[str, tuple[type[DomainError], str]] = {
    "blocked": (Unprocessable, "content_blocked"),
    "context_length": (Unprocessable, "context_too_long"),
    "bad_request": (Unprocessable, "provider_refused"),
    "rate_limit": (Unavailable, "providers_busy"),
    "no_target": (Unavailable, "no_provider"),
    "out_of_budget": (LimitReached, "quota_exceeded"),
    "budget_unknown": (Unavailable, "counter_unavailable"),
    "deleted": (Gone, "session_deleted"),
}

_DEFAULT_RETRY_SECONDS = 10


def reply_error(reply: dict[str, Any]) -> DomainError:
    """Return the error of a stored reply that has no complete answer; `retry` makes another attempt."""
    error = reply["error"] or {}
    interrupted = reply["status"] == Status.INTERRUPTED
    default = (UpstreamFailed, "reply_interrupted" if interrupted else "provider_failed")
    error_class, code = _ERRORS.get(error.get("kind", ""), default)
    extra = {
        "session_id": str(reply["session_id"]),
        "message_id": str(reply["in_reply_to_id"]),
        "reply_id": str(reply["_id"]),
        "reply_status": reply["status"],
    }
    if limit := error.get("limit"):
        extra["limit"] = limit
    retry_after = None
    if issubclass(error_class, LimitReached | Unavailable):
        retry_after = int(error.get("retry_after_seconds") or _DEFAULT_RETRY_SECONDS)
    detail = error.get("detail") or "No provider gave an answer."
    return error_class(detail, code, extra=extra, retry_after_seconds=retry_after)


def error_data(error: Exception) -> dict[str, Any]:
    """Return what is kept of a provider's error: its kind, our sentence, when to come back, the limit met."""
    limit = getattr(error, "limit", None)
    return {
        "kind": getattr(error, "kind", "error"),
        "detail": str(error),
        "retry_after_seconds": getattr(error, "retry_after_seconds", None),
        **({"limit": limit} if limit else {}),
    }


def start_data(reply: dict, provider: str, model: str) -> dict[str, Any]:
    return {
        "session_id": str(reply["session_id"]),
        "message_id": str(reply["in_reply_to_id"]),
        "reply_id": str(reply["_id"]),
        "provider": provider,
        "model": model,
    }


def answered(reply: dict[str, Any]) -> bool:
    """True if the reply ended as its readers wanted: whole, or stopped by them."""
    return reply["status"] in (Status.COMPLETE, Status.CANCELLED)


def final_events(reply: dict[str, Any]) -> list[TurnEvent]:
    """Return `usage` and `done` with the whole reply, or `error` with a problem; the partial text stays."""
    epoch, offset = reply["epoch"], len(reply["content"])
    if not answered(reply):
        problem = ProblemDetails.of(reply_error(reply)).body(request_id.get())
        return [TurnEvent("error", problem, epoch, offset)]
    data = message_data(reply)
    return [
        TurnEvent("usage", data["usage"], epoch, offset),
        TurnEvent("done", data, epoch, offset),
    ]
