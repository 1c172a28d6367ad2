"""The lines of a reply's receipt: what each attempt took, used and cost."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

from llm import errors, estimate
from llm.canonical import Attempt, Completion, CostBasis, Request, Target, Usage
from llm.catalogue import Catalogue
from llm.providers.call import ProviderCall


def with_usage(completion: Completion, request: Request) -> Completion:
    """Return `completion` with the provider's token counts, or ours (flagged) where it gave none."""
    usage = completion.usage
    if usage.total:
        return completion
    said = (
        completion.text
        + completion.reasoning
        + "".join(call.name + call.arguments for call in completion.tool_calls)
    )
    estimated = replace(
        usage, input=estimate.input_tokens(request), output=estimate.tokens(said), estimated=True
    )
    return replace(completion, usage=estimated)


class Line:
    """An attempt under way; `close` turns it into a line of the receipt."""

    def __init__(self, target: Target, request: Request, catalogue: Catalogue, waited_seconds: float) -> None:
        self.target = target
        self.request = request
        self.catalogue = catalogue
        self.waited_seconds = waited_seconds
        self._began = time.monotonic()

    def answered(self, exchange: ProviderCall, completion: Completion) -> Attempt:
        cost, basis = self.catalogue.cost(self.target, completion.usage)
        return self._attempt("ok", exchange, completion, completion.usage, cost, basis)

    def failed(self, error: errors.ProviderError, exchange: ProviderCall | None) -> Attempt:
        """A failed attempt costs nothing unless the provider reported what it used.

        A cancelled one is no failure: what had been said is counted and priced.
        """
        if exchange is None:
            return self._attempt(error.kind, None, None, Usage(), Decimal(0), "estimated", error)
        partial = exchange.partial
        usage, cost, basis = partial.usage, Decimal(0), "estimated"
        reported = usage.total > 0 or usage.cost is not None
        if not reported and _may_have_been_used(error, exchange):
            usage = with_usage(partial, self.request).usage
        if reported or isinstance(error, errors.Cancelled):
            cost, basis = self.catalogue.cost(self.target, usage)
        return self._attempt(error.kind, exchange, partial, usage, cost, basis, error)

    def _attempt(
        self,
        outcome: str,
        exchange: ProviderCall | None,
        completion: Completion | None,
        usage: Usage,
        cost: Decimal | None,
        basis: CostBasis,
        error: errors.ProviderError | None = None,
    ) -> Attempt:
        status = exchange.status if exchange else None
        return Attempt(
            target=self.target,
            outcome=outcome,
            status=status if status is not None or error is None else error.status,
            reason=str(error or ""),
            waited_ms=round(self.waited_seconds * 1000),
            first_token_ms=exchange.first_token_ms if exchange else None,
            latency_ms=round((time.monotonic() - self._began) * 1000),
            model_used=completion.model_used if completion else "",
            response_id=completion.response_id if completion else "",
            usage=usage,
            cost=cost,
            cost_basis=basis,
        )


def not_called(target: Target, error: errors.CircuitOpen) -> Attempt:
    """The line of a target that was skipped because its circuit is open."""
    return Attempt(
        target=target, outcome=error.kind, reason=str(error), cost=Decimal(0), cost_basis="estimated"
    )


def _may_have_been_used(error: errors.ProviderError, exchange: ProviderCall) -> bool:
    """Whether the model may have worked: it began to answer, or took the request and kept silent."""
    if exchange.first_token_ms is not None:
        return True
    if not exchange.request_sent or isinstance(error, errors.Unreachable):
        return False
    return exchange.status is None or exchange.status < 400
