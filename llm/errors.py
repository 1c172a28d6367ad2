"""Everything that can go wrong with a provider, as a tree.

    ProviderError               kind, provider, status, our sentence
    ├── Unauthorized            wrong key                                (auth)
    │   └── NotConfigured       no key, or a key that can't be sent      (auth)
    ├── BillingRefused          no credit, spent budget                  (billing)
    ├── RateLimited             429, 498; retry_after_seconds            (rate_limit)
    ├── Overloaded              5xx, 408, 529                            (overloaded)
    ├── CircuitOpen             failed too often, not called for now     (circuit_open)
    ├── Unreachable             refused, reset, DNS                      (network)
    ├── ProviderSilent          no first token, or a stall               (timeout)
    ├── ModelNotFound           404, unknown model                       (not_found)
    ├── Unsupported             the target can't do what is asked        (unsupported)
    ├── ContextTooLong          prompt exceeds the model's window        (context_length)
    ├── BadRequest              other 400, 422                           (bad_request)
    ├── Blocked                 content filter, moderation, refusal      (blocked)
    ├── BadReply                malformed, truncated, empty, cut         (bad_reply)
    │   └── ReplyTooLarge       our size limit was reached               (too_large)
    ├── Cancelled               the caller stopped the run               (cancelled)
    ├── OutOfBudget             no budget for a further call             (out_of_budget)
    │   └── BudgetUnknown       the budget can't be checked              (budget_unknown)
    └── AllProvidersFailed      the route is exhausted; lists every attempt

`str(error)` is our sentence: safe to show to a client, without keys and without the
provider's words. `detail` has the provider's own words, for logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm.canonical import Attempt


class ProviderError(Exception):
    """`attempts` is the receipt of the run that ended with this error; empty before it ends."""

    kind = "error"
    attempts: Sequence[Attempt] = ()

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        detail: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(ProviderError):
    kind = "auth"


class NotConfigured(Unauthorized):
    pass


class BillingRefused(ProviderError):
    kind = "billing"


class RateLimited(ProviderError):
    """A limit is used up. Routing waits only if `retry_after_seconds` is known and short enough.

    `do_not_wait` is True when waiting does not help (a day's quota, a limit of zero, a
    request larger than the limit); `retry_after_seconds` is then None.
    """

    kind = "rate_limit"

    def __init__(self, message: str, *, do_not_wait: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.do_not_wait = do_not_wait


class Overloaded(ProviderError):
    kind = "overloaded"


class CircuitOpen(ProviderError):
    """Nothing was sent. `retry_after_seconds` is the time until the target is tried again."""

    kind = "circuit_open"


class Unreachable(ProviderError):
    kind = "network"


class ProviderSilent(ProviderError):
    """`out_of_time` is True when our total time was reached: the provider may just have had much to say."""

    kind = "timeout"

    def __init__(self, message: str, *, out_of_time: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.out_of_time = out_of_time


class ModelNotFound(ProviderError):
    kind = "not_found"


class Unsupported(ProviderError):
    """The target takes no images, tools or formats, while another one may."""

    kind = "unsupported"


class ContextTooLong(ProviderError):
    """`of_the_body` is True when the host takes no body of that size: one with the same window may."""

    kind = "context_length"

    def __init__(self, message: str, *, of_the_body: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.of_the_body = of_the_body


class BadRequest(ProviderError):
    kind = "bad_request"


class Blocked(ProviderError):
    kind = "blocked"


class BadReply(ProviderError):
    """`by_model` is True when the model wrote what is no answer: empty, an invalid tool call or JSON.

    A request can provoke that; the target works.
    """

    kind = "bad_reply"

    def __init__(self, message: str, *, by_model: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.by_model = by_model


class ReplyTooLarge(BadReply):
    kind = "too_large"


class Cancelled(ProviderError):
    kind = "cancelled"


class OutOfBudget(ProviderError):
    """`limit` is the limit without room, in the form that the API shows; None if it is not known."""

    kind = "out_of_budget"

    def __init__(self, message: str, *, limit: dict[str, Any] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.limit = limit


class BudgetUnknown(OutOfBudget):
    kind = "budget_unknown"


class AllProvidersFailed(ProviderError):
    """Every target of the route failed. `kind` is that of the last error.

    `retry_after_seconds` is the shortest wait that a target has stated.
    """

    def __init__(
        self,
        message: str,
        *,
        attempts: Sequence[Attempt],
        last: ProviderError | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(
            message,
            provider=last.provider if last else "",
            status=last.status if last else None,
            detail=last.detail if last else "",
            retry_after_seconds=retry_after_seconds,
        )
        self.do_not_wait = retry_after_seconds is None and getattr(last, "do_not_wait", False)
        self.attempts = attempts
        self.last = last
        self.kind = last.kind if last else "no_target"
