"""One call to a provider, as its reply stores it and as it is billed."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from llm import canonical


class StoredAttempt(TypedDict):
    """An entry of `Message.attempts`. Of a call whose worker died only the first eight are known."""

    run: int
    target: str
    provider: str
    model: str
    outcome: str
    reason: str
    cost: str | None
    cost_basis: str
    model_used: NotRequired[str]
    status: NotRequired[int | None]
    waited_ms: NotRequired[int]
    first_token_ms: NotRequired[int | None]
    latency_ms: NotRequired[int]
    response_id: NotRequired[str]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    reasoning_tokens: NotRequired[int]
    tokens_estimated: NotRequired[bool]
    delivered: NotRequired[bool]
    notes: NotRequired[list[str]]


class StoredError(TypedDict):
    """`Message.error`: why a reply has no whole answer. `limit` is the plan's limit that has no room.

    `do_not_wait`: waiting does not help, or for how long is not known.
    """

    kind: str
    detail: str
    retry_after_seconds: NotRequired[float | None]
    do_not_wait: NotRequired[bool]
    limit: NotRequired[dict[str, Any]]


#: The error of a reply whose server stopped before the answer was complete.
INTERRUPTED: StoredError = {"kind": "interrupted", "detail": "The server that was answering stopped."}

#: The error of a reply that was deleted with its session while it was read.
DELETED: StoredError = {"kind": "deleted", "detail": "The conversation was deleted."}


def stored_attempt(attempt: canonical.Attempt, run: int) -> StoredAttempt:
    usage = attempt.usage
    stored: StoredAttempt = {
        "run": run,
        "target": str(attempt.target),
        "provider": attempt.target.provider,
        "model": attempt.target.model,
        "model_used": attempt.model_used,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "reason": attempt.reason,
        "waited_ms": attempt.waited_ms,
        "first_token_ms": attempt.first_token_ms,
        "latency_ms": attempt.latency_ms,
        "response_id": attempt.response_id,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
        "tokens_estimated": usage.estimated,
        "delivered": attempt.delivered,
        "cost": None if attempt.cost is None else f"{attempt.cost:f}",
        "cost_basis": attempt.cost_basis,
    }
    if attempt.notes:
        stored["notes"] = list(attempt.notes)
    return stored


def interrupted_attempt(run: int, target: canonical.Target) -> StoredAttempt:
    """Return the attempt of a dead worker. Its usage was in that worker's memory only."""
    return {
        "run": run,
        "target": str(target),
        "provider": target.provider,
        "model": target.model,
        "outcome": "interrupted",
        "reason": INTERRUPTED["detail"],
        "cost": None,
        "cost_basis": "unpriced",
    }


def billed_tokens(attempt: StoredAttempt) -> int:
    """Return the tokens that count against the limits.

    Those of answers count, partial ones that were delivered too. Those of failures count where the provider
    reported them, as it charges for them.
    """
    is_answer = attempt["outcome"] in ("ok", "cancelled") or attempt.get("delivered")
    if not is_answer and attempt.get("tokens_estimated"):
        return 0
    return (attempt.get("input_tokens") or 0) + (attempt.get("output_tokens") or 0)


def stored_error(error: Exception) -> StoredError:
    """Return what is stored of a provider's error."""
    stored: StoredError = {
        "kind": getattr(error, "kind", "error"),
        "detail": str(error),
        "retry_after_seconds": getattr(error, "retry_after_seconds", None),
    }
    if getattr(error, "do_not_wait", False):
        stored["do_not_wait"] = True
    if limit := getattr(error, "limit", None):
        stored["limit"] = limit
    return stored
