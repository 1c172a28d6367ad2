"""How a limit is told to clients: headers on every answer, an explained refusal at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

from core import errors


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit as it stands after this request.

    `name` is the policy ("minute", "auth.login"), `window_seconds` its period,
    `reset_seconds` the time until the count starts again.
    """

    name: str
    limit: int
    used: int
    window_seconds: int
    reset_seconds: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def retry_after(self) -> int:
        return max(1, math.ceil(self.reset_seconds))


class RateLimited(errors.LimitReached):
    """429 that says which limit, whose, how much is used and when it resets."""

    def __init__(self, state: LimitState, *, scope: str, detail: str = "", code: str | None = None) -> None:
        super().__init__(
            detail
            or f"The limit {state.name!r} of {state.limit} for this {scope} is reached."
            f" Try again in {state.retry_after} seconds.",
            code,
            retry_after_seconds=state.retry_after,
            extra={
                "limit": {
                    "name": state.name,
                    "scope": scope,
                    "limit": state.limit,
                    "used": state.used,
                    "reset_seconds": state.retry_after,
                }
            },
        )
        self.state = state


def show_limit(request: HttpRequest, state: LimitState) -> None:
    """Have `state` on the answer's headers; of several the one nearest to its end is shown."""
    shown = getattr(request, "limit_state", None)
    if shown is None or state.remaining < shown.remaining:
        getattr(request, "_request", request).limit_state = state


def set_rate_limit_headers(request: HttpRequest, response: HttpResponse) -> None:
    """Set RateLimit-Policy, RateLimit and the older X-RateLimit trio from the request's limit."""
    state: LimitState | None = getattr(request, "limit_state", None)
    if state is None:
        return
    reset = state.retry_after
    response["RateLimit-Policy"] = f'"{state.name}";q={state.limit};w={state.window_seconds}'
    response["RateLimit"] = f'"{state.name}";r={state.remaining};t={reset}'
    response["X-RateLimit-Limit"] = str(state.limit)
    response["X-RateLimit-Remaining"] = str(state.remaining)
    response["X-RateLimit-Reset"] = str(reset)
