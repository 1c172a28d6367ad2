"""What a failed call means for its target, and for those who operate it."""

from __future__ import annotations

import logging

from llm import errors
from llm.canonical import Attempt

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
_BLAMES_THE_REQUEST = (400, 413, 422)
_TEMPORARY = (errors.RateLimited, errors.Overloaded)


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
        or (isinstance(error, _TEMPORARY) and error.status in _BLAMES_THE_REQUEST)
    )
