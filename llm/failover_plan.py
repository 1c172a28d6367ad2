"""Which target a run calls next, after each kind of failure.

| failure | before the first token | after it |
|---|---|---|
| rate limit with a Retry-After within the limit | wait, same target once, then next | next |
| overloaded | same target twice, with backoff, then next | next, then same once |
| overloaded by a 400 without a reason | next; if none is left, same target twice | the same as overloaded |
| connection refused or reset | same target twice, with backoff, then next | same once, then next |
| timeout or stall | next; never this target again | the same |
| bad reply | same target once, then next | next, then same once |
| too large | next; never this target again | the same |
| unauthorized, billing, model not found | next | next |
| context too long | next with a larger or unknown window; then twice with less of the history | the same |
| body too large, not supported | next | the same |
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
from llm.failed_calls import BLAMES_THE_REQUEST
from llm.policy import Policy


@dataclass(frozen=True, slots=True)
class NextCall:
    """The next call: to `permit.target`, after `wait_seconds`."""

    permit: Permit
    wait_seconds: float = 0.0

    @property
    def target(self) -> Target:
        return self.permit.target


class FailoverPlan:
    """The calls of one run along its route.

    `origin` is whose run it is, for the circuit breakers. `on_skip` is called with each target whose circuit
    is open.
    """

    def __init__(
        self,
        route: Sequence[Target],
        policy: Policy,
        breakers: Breakers,
        catalogue: Catalogue,
        on_skip: Callable[[Target], None],
        origin: str = "",
    ) -> None:
        self.policy = policy
        self.breakers = breakers
        self.origin = origin
        self.catalogue = catalogue
        self.calls = 0
        self.on_skip = on_skip
        self._pending = deque(dict.fromkeys(route))
        self._excluded: set[Target] = set()
        self._retries: Counter[tuple[Target, str]] = Counter()
        self._window_exceeded: int | None = None
        self._too_long_for: list[Target] = []
        self._repeats = 0

    @property
    def has_more(self) -> bool:
        """Whether the route has further targets that may be called."""
        return any(
            target not in self._excluded
            and self._large_enough(target)
            and not self.breakers.seconds_until_probe(target, self.origin)
            for target in self._pending
        )

    @property
    def may_retry(self) -> bool:
        """Whether the run may make a further call at all."""
        return self.calls < self.policy.max_attempts

    def next(self) -> NextCall | None:
        """Return the call to the next target that may be called, or None at the end of the route."""
        while self._pending:
            target = self._pending.popleft()
            if target not in self._excluded and self._large_enough(target) and (call := self.retry(target)):
                return call
        return None

    def retry(self, target: Target, wait_seconds: float = 0.0) -> NextCall | None:
        """Return a call to that target; None if its circuit is open or the maximum of calls is reached."""
        if not self.may_retry:
            return None
        permit = self.breakers.admit(target, self.origin)
        if permit is None:
            self.on_skip(target)
            return None
        self.calls += 1
        return NextCall(permit, wait_seconds)

    def next_after(
        self, error: errors.ProviderError, target: Target, *, began: bool, remaining_seconds: float
    ) -> NextCall | None:
        """Return the call that follows the failure of `target`, or None to stop.

        `began`: the failed call had received its first token.
        """
        match error:
            case errors.Cancelled() | errors.BadRequest() | errors.Blocked():
                return None
            case errors.ContextTooLong():
                return self._next_after_context_too_long(target, exceeds_window=not error.of_the_body)
            case errors.ProviderSilent() | errors.ReplyTooLarge():
                self._excluded.add(target)
                return self.next()
        if began:
            return self._next_after_broken_stream(error, target)
        wait = self._wait_before_retry(error, target)
        if wait is None or wait >= remaining_seconds:
            return self.next()
        return self.retry(target, wait) or self.next()

    def _wait_before_retry(self, error: errors.ProviderError, target: Target) -> float | None:
        """Return the seconds to wait before calling the same target again, None for not again."""
        policy, requested = self.policy, error.retry_after_seconds
        if requested is not None and requested > policy.retry_after_seconds:
            return None
        match error:
            # OpenRouter's budget of requests in flight is a 402 with Retry-After; without that header
            # waiting does not help: https://openrouter.ai/docs/api_reference/errors-and-debugging (2026-11)
            case errors.RateLimited() | errors.BillingRefused() if requested is not None:
                retry = self._count_retry(target, "refused", policy.retries_on_rate_limit)
                return requested if retry else None
            # A host behind a gateway, which gives no reason: another target is the better try.
            case errors.Overloaded() if error.status in BLAMES_THE_REQUEST and self.has_more:
                return None
            case errors.Overloaded() | errors.Unreachable():
                retry = self._count_retry(target, "overloaded", policy.retries_on_overload)
                return max(policy.backoff(retry), requested or 0.0) if retry else None
            case errors.BadReply():
                return 0.0 if self._count_retry(target, "bad_reply", policy.retries_on_bad_reply) else None
        return None

    def _next_after_broken_stream(self, error: errors.ProviderError, target: Target) -> NextCall | None:
        match error:
            case errors.Unreachable() if self._count_retry(target, "break", 1):
                return self.retry(target) or self.next()
            # A second call may well succeed; but only when no other target is left.
            case errors.Overloaded() | errors.BadReply() if self._count_retry(target, "break", 1):
                self._pending.append(target)
        return self.next()

    def repeat_shorter(self, would_be_shorter: Callable[[Target], bool]) -> NextCall | None:
        """Return a call to the target of the largest window of those that refused the request's length.

        At most `repeats_on_context_length` of a run, to targets to which a shorter request would be sent.
        """
        targets = [target for target in self._too_long_for if would_be_shorter(target)]
        if not targets or self._repeats >= self.policy.repeats_on_context_length:
            return None
        self._repeats += 1
        return self.retry(max(targets, key=self._window))

    def _next_after_context_too_long(self, target: Target, *, exceeds_window: bool) -> NextCall | None:
        if exceeds_window:
            self._window_exceeded = max(self._window(target), self._window_exceeded or 0)
        if target not in self._too_long_for:
            self._too_long_for.append(target)
        return self.next()

    def _large_enough(self, target: Target) -> bool:
        """Whether the window is larger than those that were exceeded, or not known."""
        window = self._window(target)
        return self._window_exceeded is None or not window or window > self._window_exceeded

    def _window(self, target: Target) -> int:
        return self.catalogue.get(target).context_window or 0

    def _count_retry(self, target: Target, reason: str, allowed: int) -> int:
        """Return the number of this retry for that reason, from 1; 0 once the allowed ones are used up."""
        if self._retries[target, reason] >= allowed:
            return 0
        self._retries[target, reason] += 1
        return self._retries[target, reason]
