"""Where a run stands on its route, and where it goes after each kind of failure.

| failure | before the first token | after it |
|---|---|---|
| rate limit with a Retry-After within the budget | wait, same target once, then next | next |
| overloaded | same target twice, with backoff, then next | next, then same once |
| refused or reset connection | same target twice, with backoff, then next | same once, then next |
| silence or stall | next; never this target again | the same |
| bad reply | same target once, then next | next, then same once |
| too large | next; never this target again | the same |
| unauthorised, billing, model not found | next | next |
| context too long | next with a larger window | the same |
| bad request, blocked, cancelled | stop | stop |

Nothing here touches the network.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm import errors
from llm.breaker import Breakers, Permit
from llm.canonical import Target
from llm.catalogue import Catalogue
from llm.policy import Policy


@dataclass(frozen=True, slots=True)
class Step:
    """The next call: to `permit.target`, after `wait_seconds`."""

    permit: Permit
    wait_seconds: float = 0.0


class Walk:
    """One run's way along its route. `on_skip` is told of each target whose circuit is open."""

    def __init__(
        self,
        route: Sequence[Target],
        policy: Policy,
        breakers: Breakers,
        catalogue: Catalogue,
        on_skip: Callable[[Target], None],
    ) -> None:
        self.policy = policy
        self.breakers = breakers
        self.catalogue = catalogue
        self.calls = 0
        self.on_skip = on_skip
        self._ahead = deque(dict.fromkeys(route))
        self._barred: set[Target] = set()
        self._retries: Counter[tuple[Target, str]] = Counter()
        self._window_exceeded: int | None = None

    @property
    def has_more(self) -> bool:
        """Whether the route holds further targets."""
        return bool(self._ahead)

    def next(self) -> Step | None:
        """Return the step to the next target that may be called, or None at the route's end."""
        while self._ahead:
            target = self._ahead.popleft()
            if target not in self._barred and self._large_enough(target) and (step := self.again(target)):
                return step
        return None

    def again(self, target: Target, wait_seconds: float = 0.0) -> Step | None:
        """Return the step to that target; None if its circuit is open or the cap on calls is reached."""
        if self.calls >= self.policy.max_attempts:
            return None
        permit = self.breakers.admit(target)
        if permit is None:
            self.on_skip(target)
            return None
        self.calls += 1
        return Step(permit, wait_seconds)

    def after(
        self, error: errors.ProviderError, target: Target, *, began: bool, remaining_seconds: float
    ) -> Step | None:
        """Return the step that follows the failure of `target`, or None to stop.

        `began`: the failed call had given its first token.
        """
        match error:
            case errors.Cancelled() | errors.BadRequest() | errors.Blocked():
                return None
            case errors.ContextTooLong():
                return self._after_context_too_long(target)
            case errors.ProviderSilent() | errors.ReplyTooLarge():
                self._barred.add(target)
                return self.next()
        if began:
            return self._after_break(error, target)
        wait = self._wait_before_retry(error, target)
        if wait is None or wait >= remaining_seconds:
            return self.next()
        return self.again(target, wait) or self.next()

    def _wait_before_retry(self, error: errors.ProviderError, target: Target) -> float | None:
        """Return the seconds after which the same target is worth another call, None for never."""
        policy, asked = self.policy, error.retry_after_seconds
        if asked is not None and asked > policy.retry_after_seconds:
            return None
        match error:
            # A budget in flight refuses with Retry-After too; without one, waiting buys no credit.
            case errors.RateLimited() | errors.BillingRefused() if asked is not None:
                retry = self._retry(target, "refused", policy.retries_on_rate_limit)
                return asked if retry else None
            case errors.Overloaded() | errors.Unreachable():
                retry = self._retry(target, "overloaded", policy.retries_on_overload)
                return max(policy.backoff(retry), asked or 0.0) if retry else None
            case errors.BadReply():
                return 0.0 if self._retry(target, "bad_reply", policy.retries_on_bad_reply) else None
        return None

    def _after_break(self, error: errors.ProviderError, target: Target) -> Step | None:
        """The stream broke after its first token: who takes over?"""
        match error:
            case errors.Unreachable() if self._retry(target, "break", 1):
                return self.again(target) or self.next()
            # It may well do better once; but only when nobody else is left.
            case errors.Overloaded() | errors.BadReply() if self._retry(target, "break", 1):
                self._ahead.append(target)
        return self.next()

    def _after_context_too_long(self, target: Target) -> Step | None:
        window = self.catalogue.get(target).context_window or 0
        self._window_exceeded = max(window, self._window_exceeded or 0)
        return self.next()

    def _large_enough(self, target: Target) -> bool:
        if self._window_exceeded is None:
            return True
        return (self.catalogue.get(target).context_window or 0) > self._window_exceeded

    def _retry(self, target: Target, reason: str, allowed: int) -> int:
        """Return which retry for that reason this is, from 1; 0 once the allowed ones are used up."""
        if self._retries[target, reason] >= allowed:
            return 0
        self._retries[target, reason] += 1
        return self._retries[target, reason]
