"""The receipt of a reply: what each attempt took, used and cost."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

from llm import errors, estimate
from llm.canonical import Attempt, Completion, CostBasis, Request, Target, Usage
from llm.catalogue import Catalogue
from llm.providers import ProviderCall
from llm.providers.json_values import MAX_TOKENS


def with_usage(completion: Completion, request: Request) -> Completion:
    """Return `completion` with the provider's token counts, each estimated that it did not report."""
    usage = completion.usage
    if usage.input and usage.output:
        return completion
    written = (
        completion.text
        + completion.refusal
        + completion.reasoning
        + "".join(call.name + call.arguments for call in completion.tool_calls)
    )
    if usage.input and not written:
        return completion
    estimated = replace(
        usage,
        input=usage.input or estimate.input_tokens(request),
        output=usage.output or min(estimate.tokens(written), request.max_tokens or MAX_TOKENS),
        estimated=True,
    )
    return replace(completion, usage=estimated)


#: The answer that these end was an answer so far: who asked decides when to stop, how long it becomes, and
#: what it is about. If it were free, it would be free as often as it is asked for.
_COUNTED = (errors.Cancelled, errors.ReplyTooLarge, errors.Blocked)


class AttemptRecorder:
    """Times one attempt, and makes its line of the receipt when it has ended."""

    def __init__(self, target: Target, request: Request, catalogue: Catalogue, waited_seconds: float) -> None:
        self.target = target
        self.request = request
        self.catalogue = catalogue
        self.waited_seconds = waited_seconds
        self._began = time.monotonic()

    def succeeded(self, call: ProviderCall, completion: Completion) -> Attempt:
        cost, basis = self.catalogue.cost(self.target, completion.usage)
        return self._attempt("ok", call, completion, completion.usage, cost, basis)

    def failed(self, error: errors.ProviderError, call: ProviderCall | None) -> Attempt:
        """A failed attempt costs nothing unless the provider reported its usage or cost.

        A cancelled one did not fail, and nor did one whose answer was ended by our limits or by its content:
        request and partial answer are counted and priced.
        """
        cost: Decimal | None = Decimal(0)
        basis: CostBasis = "estimated"
        if call is None:
            return self._attempt(error.kind, None, None, Usage(), cost, basis, error)
        partial = call.partial
        usage = partial.usage
        reported = usage.total > 0 or usage.cost is not None
        counted = isinstance(error, _COUNTED) or getattr(error, "out_of_time", False)
        if (counted or not reported) and _may_have_used_tokens(error, call):
            usage = with_usage(partial, self.request).usage
        delivered = counted and call.first_token_ms is not None
        if reported or delivered or isinstance(error, errors.Cancelled):
            cost, basis = self.catalogue.cost(self.target, usage)
        attempt = self._attempt(error.kind, call, partial, usage, cost, basis, error)
        attempt.delivered = delivered
        return attempt

    def _attempt(
        self,
        outcome: str,
        call: ProviderCall | None,
        completion: Completion | None,
        usage: Usage,
        cost: Decimal | None,
        basis: CostBasis,
        error: errors.ProviderError | None = None,
    ) -> Attempt:
        status = call.status if call else None
        return Attempt(
            target=self.target,
            outcome=outcome,
            status=status if status is not None or error is None else error.status,
            reason=str(error or ""),
            waited_ms=round(self.waited_seconds * 1000),
            first_token_ms=call.first_token_ms if call else None,
            latency_ms=round((time.monotonic() - self._began) * 1000),
            model_used=completion.model_used if completion else "",
            response_id=completion.response_id if completion else "",
            usage=usage,
            cost=cost,
            cost_basis=basis,
            notes=tuple(call.notes) if call else (),
        )


def skipped(target: Target, error: errors.CircuitOpen) -> Attempt:
    """Return the line of a target that was not called because its circuit is open."""
    return Attempt(
        target=target, outcome=error.kind, reason=str(error), cost=Decimal(0), cost_basis="estimated"
    )


def _may_have_used_tokens(error: errors.ProviderError, call: ProviderCall) -> bool:
    """Whether the model may have worked: it began to answer, or accepted the request and sent nothing."""
    if call.first_token_ms is not None:
        return True
    if not call.request_sent or isinstance(error, errors.Unreachable):
        return False
    return call.status is None or call.status < 400
