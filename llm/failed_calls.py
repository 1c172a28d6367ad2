"""What a failed call means for its target, and for those who operate it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from llm import errors
from llm.canonical import Attempt, Target

logger = logging.getLogger("llm.routing")

#: Failures that only an operator can resolve: a key, a bill, a model's name.
_ALERTING = (errors.Unauthorized, errors.BillingRefused, errors.ModelNotFound)

#: After these the target is healthy: the request caused the failure, or its size.
_NOT_THE_TARGETS_FAULT = (
    errors.BadRequest,
    errors.Blocked,
    errors.ContextTooLong,
    errors.ReplyTooLarge,
    errors.Unsupported,
)

#: These blame the request, whatever the target or a host behind it says: a single request larger than the
#: limit per minute is a 413, an error of a host that a gateway passes on without its reason a 400.
BLAMES_THE_REQUEST = (400, 413, 422)
_TEMPORARY = (errors.RateLimited, errors.Overloaded)


#: A run ends with these as they are: another target would not have helped, or must not be called.
FINAL = (errors.BadRequest, errors.Blocked, errors.OutOfBudget, errors.Cancelled)


class Failures:
    """The failures of a run: the last one, and how long each of its targets asks to wait, as it last said."""

    def __init__(self) -> None:
        self.last: errors.ProviderError | None = None
        self._waits: dict[Target, float] = {}

    def add(self, error: errors.ProviderError, target: Target, *, is_last: bool = True) -> None:
        """Note a failure; one that is not the `is_last` says only how long to wait."""
        if is_last:
            self.last = error
        self._waits.pop(target, None)
        if error.retry_after_seconds is not None:
            self._waits[target] = error.retry_after_seconds

    def final_error(self, attempts: Sequence[Attempt]) -> errors.ProviderError:
        """Return the error that the run ends with; `attempts` are its receipt."""
        if isinstance(self.last, FINAL):
            return self.last
        tried = dict.fromkeys(f"{attempt.target} ({attempt.outcome})" for attempt in attempts)
        message = f"No provider could answer: {', '.join(tried)}." if tried else "No provider is configured."
        return errors.AllProvidersFailed(
            message,
            attempts=attempts,
            last=self.last,
            retry_after_seconds=min(self._waits.values(), default=None),
        )


def log_failure(attempt: Attempt, error: errors.ProviderError) -> None:
    """Log a failed attempt; one that only an operator can resolve as an error, which is an alert."""
    if isinstance(error, errors.Cancelled):
        return
    facts = {
        "provider": attempt.target.provider,
        "model": attempt.target.model,
        "kind": error.kind,
        "status": attempt.status,
        "detail": error.detail,
    }
    if isinstance(error, _ALERTING):
        logger.error("llm_target_needs_attention", extra=facts)
    else:
        logger.warning("llm_attempt_failed", extra=facts)


def is_provoked(error: errors.ProviderError) -> bool:
    """Whether a request can bring about the failure by itself: then it says nothing against the target."""
    return (
        isinstance(error, _NOT_THE_TARGETS_FAULT)
        or getattr(error, "by_model", False)
        or (isinstance(error, _TEMPORARY) and error.status in BLAMES_THE_REQUEST)
    )
