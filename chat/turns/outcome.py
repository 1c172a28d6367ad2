"""How a reply is told: the first and last events of a stream, or a problem."""

from __future__ import annotations

from typing import Any

from chat.models import Message
from chat.serializers import message_data
from chat.turns.sse import TurnEvent
from core.api.errors import Problem, problem
from core.logs import request_id

Status = Message.Status

#: Error kind of a provider -> status and code of ours. The rest is 502 `provider_failed`.
_PROBLEMS = {
    "blocked": (422, "content_blocked"),
    "context_length": (422, "context_too_long"),
    "bad_request": (422, "provider_refused"),
    "rate_limit": (503, "providers_busy"),
    "no_target": (503, "no_provider"),
    "out_of_budget": (429, "quota_exceeded"),
    "budget_unknown": (503, "counter_unavailable"),
    "deleted": (410, "session_deleted"),
}

_DEFAULT_RETRY_SECONDS = 10


class ProviderFailed(Problem):
    default_code = "provider_failed"

    def __init__(self, error: dict[str, Any], code: str = "", extra: dict[str, Any] | None = None) -> None:
        self.status_code, named = _PROBLEMS.get(error.get("kind", ""), (502, ""))
        headers = {}
        if self.status_code in (429, 503):
            headers["Retry-After"] = str(int(error.get("retry_after_seconds") or _DEFAULT_RETRY_SECONDS))
        if limit := error.get("limit"):
            extra = {**(extra or {}), "limit": limit}
        super().__init__(
            error.get("detail") or "No provider gave an answer.",
            named or code or self.default_code,
            headers=headers,
            extra=extra,
        )


class ReplyFailed(ProviderFailed):
    """The question is stored, its reply has no whole answer; `retry` makes another attempt."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__(
            reply["error"] or {},
            "reply_interrupted" if reply["status"] == Status.INTERRUPTED else "",
            {
                "session_id": str(reply["session_id"]),
                "message_id": str(reply["in_reply_to_id"]),
                "reply_id": str(reply["_id"]),
                "reply_status": reply["status"],
            },
        )


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
        return [TurnEvent("error", problem(ReplyFailed(reply), request_id.get()), epoch, offset)]
    data = message_data(reply)
    return [
        TurnEvent("usage", data["usage"], epoch, offset),
        TurnEvent("done", data, epoch, offset),
    ]
