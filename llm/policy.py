"""The limits of failover: timeouts, waits and numbers of retries."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from django.conf import settings

from llm.providers.base import Limits

_TIMES = (
    "connect_seconds",
    "first_token_seconds",
    "between_tokens_seconds",
    "total_seconds",
    "retry_after_seconds",
    "backoff_seconds",
    "breaker_seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Seconds are wall clock; retries count per target of a run."""

    connect_seconds: float = 5.0
    first_token_seconds: float = 10.0
    between_tokens_seconds: float = 10.0
    #: All attempts of a run together, waits included.
    total_seconds: float = 120.0
    #: The longest Retry-After that a run waits for.
    retry_after_seconds: float = 10.0
    #: Mean wait before the first retry; doubles with each further one.
    backoff_seconds: float = 0.5
    retries_on_rate_limit: int = 1
    retries_on_overload: int = 2
    retries_on_bad_reply: int = 1
    #: Further calls with less of the history, of a run.
    repeats_on_context_length: int = 2
    #: Calls per run, whatever the route's length.
    max_attempts: int = 8
    breaker_failures: int = 5
    breaker_seconds: float = 10.0
    max_reply_bytes: int = 8_388_608

    @classmethod
    def from_settings(cls) -> Policy:
        return cls(
            connect_seconds=settings.LLM_CONNECT_SECONDS,
            first_token_seconds=settings.LLM_FIRST_TOKEN_SECONDS,
            between_tokens_seconds=settings.LLM_BETWEEN_TOKENS_SECONDS,
            total_seconds=settings.LLM_TOTAL_SECONDS,
            retry_after_seconds=settings.LLM_RETRY_AFTER_SECONDS,
            max_attempts=settings.LLM_MAX_ATTEMPTS,
            breaker_failures=settings.LLM_BREAKER_FAILURES,
            breaker_seconds=settings.LLM_BREAKER_SECONDS,
            max_reply_bytes=settings.LLM_MAX_REPLY_BYTES,
        )

    def scaled(self, factor: float) -> Policy:
        """Return the same policy with all times multiplied by `factor`."""
        return replace(self, **{name: getattr(self, name) * factor for name in _TIMES})

    def limits(
        self, remaining_seconds: float, *, first_token_factor: float = 1, is_last: bool = False
    ) -> Limits:
        """Return the limits of one call when the run has that much time left.

        `first_token_factor` multiplies the time to the first token, which leaves half of the time to other
        targets. Without any (`is_last`) a provider that has accepted the request may take all of it.
        """
        first_token_seconds = self.first_token_seconds * first_token_factor
        if not is_last:
            half = max(self.first_token_seconds, remaining_seconds / 2)
            first_token_seconds = min(first_token_seconds, half)
        return Limits(
            connect_seconds=min(self.connect_seconds, remaining_seconds),
            first_token_seconds=min(first_token_seconds, remaining_seconds),
            is_patient=is_last,
            between_tokens_seconds=min(self.between_tokens_seconds, remaining_seconds),
            total_seconds=remaining_seconds,
            max_reply_bytes=self.max_reply_bytes,
        )

    def backoff(self, retry: int) -> float:
        """Return the seconds to wait before the `retry`-th retry (from 1).

        Jitter of 50 % either way, so that callers which failed together do not retry together.
        """
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load only
        return self.backoff_seconds * float(2 ** (retry - 1)) * jitter
