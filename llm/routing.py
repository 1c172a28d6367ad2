"""A route of targets becomes one stream of events, whatever its providers do.

`Run` calls the targets of a route until one gives a whole answer. Its parts:
`policy` has the figures, `walk` says which target comes after which failure,
`rescue` joins a further attempt to what the client already has, `breaker`
remembers targets that keep failing, `receipt` writes down every attempt.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from llm import errors, providers
from llm.breaker import BREAKERS, Breakers, Permit
from llm.canonical import (
    Attempt,
    Completion,
    Event,
    Failed,
    Finished,
    Request,
    Restarted,
    Started,
    Target,
    Text,
    ToolCallDelta,
    Waiting,
)
from llm.catalogue import catalogue
from llm.policy import Policy
from llm.providers.base import Provider
from llm.providers.call import ProviderCall
from llm.receipt import Line, not_called, with_usage
from llm.rescue import Join, Seam, continuable, continuation
from llm.route import default_route, parse_route
from llm.walk import Step, Walk

__all__ = ["Policy", "Run", "complete", "default_route", "parse_route"]

logger = logging.getLogger(__name__)

#: Failures that only an operator can end: a key, a bill, a model's name.
_ALERTING = (errors.Unauthorized, errors.BillingRefused, errors.ModelNotFound)

#: After these the target is well; the request, or nobody, is to blame.
_NOT_THE_TARGETS_FAULT = (errors.BadRequest, errors.Blocked, errors.ContextTooLong, errors.ReplyTooLarge)

#: With these the run ends as what they are: another target would not have helped, or was not to be asked.
_FINAL = (errors.BadRequest, errors.Blocked, errors.OutOfBudget)

#: How a model that takes no assistant prefix says so: a refusal, or an empty answer.
_PREFIX_REFUSALS = (errors.BadRequest, errors.BadReply)


def complete(
    request: Request, route: Sequence[Target], *, stream: bool = True, policy: Policy | None = None
) -> Completion:
    """Return the whole answer. Raises ProviderError; its `attempts` is the receipt."""
    return Run(request, route, stream=stream, policy=policy).complete()


class Run:
    """One request on its way along a route; iterate over it once.

    Yields Started · (Text | Reasoning | ToolCallDelta | Restarted)* · (Finished | Failed),
    with exactly one Finished or Failed, last. `attempts` is then the complete receipt.
    The texts since the last Restarted, joined, are the text of Finished, or of
    Failed's partial. Only ProviderError is caught, so that bugs of ours surface.

    `stream` is how the provider is asked. Only streams have a first token to wait
    for and can be rescued: of a whole answer nothing shows before its end.
    With `tell_waits` there is also a Waiting before every wait for a further call, and before that call.
    `afford` is asked before every further call: with the receipt so far, and the request and target of that
    call. It raises OutOfBudget if that can't be paid; the run then ends with this error.
    `breakers` and `provider_of` stand in for those of this process.
    """

    walk_class = Walk

    def __init__(
        self,
        request: Request,
        route: Sequence[Target],
        *,
        stream: bool = True,
        tell_waits: bool = False,
        afford: Callable[[Sequence[Attempt], Request, Target], None] | None = None,
        policy: Policy | None = None,
        breakers: Breakers = BREAKERS,
        provider_of: Callable[[str], Provider] = providers.get,
    ) -> None:
        self.request = request
        self.stream = stream
        self.tell_waits = tell_waits
        self.policy = policy or Policy.from_settings()
        self.attempts: list[Attempt] = []
        self._afford = afford
        self._breakers = breakers
        self._provider_of = provider_of
        self._catalogue = catalogue()
        self._walk = self.walk_class(route, self.policy, breakers, self._catalogue, on_skip=self._skipped)
        self._deadline = 0.0
        self._last_error: errors.ProviderError | None = None

        # What the client has, and the call that said it.
        self._started = False
        self._sent: list[str] = []
        # What cannot be joined, only replaced: tool calls, and an answer that ran away.
        self._void = False
        self._speaker: ProviderCall | None = None
        self._partial: Completion | None = None
        self._refuses_prefix: set[Target] = set()
        self._prefix_refused = False

        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._exchange: ProviderCall | None = None

    def cancel(self) -> None:
        """Stop the run, from any thread: its reader gets Failed(Cancelled) with what there is."""
        self._cancelled.set()
        with self._lock:
            if self._exchange is not None:
                self._exchange.close()

    def complete(self) -> Completion:
        """Run to the end and return the answer. Raises ProviderError; its `attempts` is the receipt."""
        for event in self:
            if isinstance(event, Finished):
                return event.completion
            if isinstance(event, Failed):
                event.error.attempts = self.attempts
                raise event.error
        raise AssertionError("A run ends with Finished or Failed.")

    def __iter__(self) -> Iterator[Event]:
        self._deadline = time.monotonic() + self.policy.total_seconds
        step = self._walk.next()
        while step is not None and self._ready(step):
            try:
                completion = yield from self._attempt(step)
            except errors.ProviderError as error:
                if self.tell_waits:
                    yield Waiting()
                step = self._after(error, step.permit.target)
            else:
                yield Finished(completion)
                return
        yield Failed(self._verdict(), self._partial)

    @property
    def _remaining_seconds(self) -> float:
        return self._deadline - time.monotonic()

    # -- between attempts -------------------------------------------------------

    def _ready(self, step: Step) -> bool:
        """Let the step's wait pass; False if it can't be paid, the run was cancelled or its time is up."""
        ready = False
        try:
            self._check_budget(step.permit.target)
            ready = not self._cancelled.wait(step.wait_seconds) and self._remaining_seconds > 0
        except errors.OutOfBudget as error:
            self._last_error = error
        finally:
            if not ready:
                step.permit.released()
        return ready

    def _check_budget(self, target: Target) -> None:
        if self._afford is not None and self.attempts:
            self._afford(self.attempts, self._request_to(target), target)

    def _after(self, error: errors.ProviderError, target: Target) -> Step | None:
        self._last_error = error
        if self._prefix_refused:
            return self._walk.again(target) or self._walk.next()
        began = self.attempts[-1].first_token_ms is not None
        return self._walk.after(error, target, began=began, remaining_seconds=self._remaining_seconds)

    def _skipped(self, target: Target) -> None:
        seconds = self._breakers.seconds_until_probe(target)
        error = errors.CircuitOpen(
            f"{target} has failed repeatedly and is left alone for {seconds:.0f} s.",
            provider=target.provider,
            retry_after_seconds=seconds,
        )
        self.attempts.append(not_called(target, error))
        self._last_error = self._last_error or error

    def _verdict(self) -> errors.ProviderError:
        """Return the error that the run ends with."""
        if self._cancelled.is_set():
            return errors.Cancelled("The answer was cancelled.")
        if isinstance(self._last_error, _FINAL):
            return self._last_error
        tried = dict.fromkeys(f"{attempt.target} ({attempt.outcome})" for attempt in self.attempts)
        message = f"No provider could answer: {', '.join(tried)}." if tried else "No provider is configured."
        return errors.AllProvidersFailed(message, attempts=self.attempts, last=self._last_error)

    # -- one attempt --------------------------------------------------------------

    def _attempt(self, step: Step) -> Generator[Event, None, Completion]:
        """Call the step's target and pass on what it says; return the whole answer.

        Raises ProviderError. However it ends, the call is closed, the circuit
        knows and the receipt has its line.
        """
        permit, target = step.permit, step.permit.target
        request = self._request_to(target)
        continuing = request is not self.request
        seam = self._seam("".join(self._sent), continuing)
        line = Line(target, request, self._catalogue, step.wait_seconds)
        exchange: ProviderCall | None = None
        try:
            if self.tell_waits and self.attempts:
                yield Waiting()
            exchange = self._open(request, target)
            completion = yield from self._pass_on(exchange, target, seam)
        except errors.ProviderError as error:
            self._note_failure(error, line, exchange, permit, continuing)
            raise
        except GeneratorExit:
            self.attempts.append(line.failed(errors.Cancelled("The reader went away."), exchange))
            raise
        else:
            completion = with_usage(completion, request)
            self.attempts.append(line.answered(exchange, completion))
            permit.succeeded()
            return replace(completion, text="".join(self._sent))
        finally:
            permit.released()
            if exchange is not None:
                exchange.close()

    def _request_to(self, target: Target) -> Request:
        """Return what `target` is asked now: the request, or its continuation where that may work."""
        sent = "".join(self._sent)
        return continuation(self.request, sent) if self._may_continue(target, sent) else self.request

    def _may_continue(self, target: Target, sent: str) -> bool:
        return (
            bool(self._catalogue.get(target).assistant_prefix)
            and target not in self._refuses_prefix
            and not self._void
            and continuable(self.request, sent)
        )

    def _seam(self, sent: str, continuing: bool) -> Seam | None:
        if not sent and not self._void:
            return None
        return Seam(sent, continuing=continuing, void=self._void)

    def _open(self, request: Request, target: Target) -> ProviderCall:
        seconds = self._remaining_seconds
        if not self.stream and self._walk.has_more:
            # A whole answer gives no sign of life; half the time must stay for the others.
            seconds /= 2
        provider = self._provider_of(target.provider)
        limits = self.policy.limits(seconds)
        exchange = provider.open(request, target.model, stream=self.stream, limits=limits)
        with self._lock:
            if self._cancelled.is_set():
                raise errors.Cancelled("The answer was cancelled.", provider=target.provider)
            self._exchange = exchange
        return exchange

    def _pass_on(
        self, exchange: ProviderCall, target: Target, seam: Seam | None
    ) -> Generator[Event, None, Completion]:
        """Pass on the events of one call, joined to what the client has; return its own completion."""
        for event in exchange:
            if not self._started:
                self._started = True
                yield Started(target)
            if isinstance(event, Text):
                if seam is None:
                    self._speaker = exchange
                    self._sent.append(event.text)
                    yield event
                elif join := seam.feed(event.text):
                    seam = None
                    yield from self._join(join, exchange, target)
                continue
            if seam is not None and isinstance(event, ToolCallDelta | Finished):
                join, seam = seam.end(), None
                yield from self._join(join, exchange, target)
            if isinstance(event, Finished):
                return event.completion
            if isinstance(event, ToolCallDelta):
                self._speaker = exchange
                self._void = True
            yield event
        raise AssertionError("An exchange ends with Finished or raises.")

    def _join(self, join: Join, exchange: ProviderCall, target: Target) -> Iterator[Event]:
        self._speaker = exchange
        if join.restart:
            self._sent.clear()
            self._void = False
            yield Restarted(self._last_error.kind if self._last_error else "", target)
        if join.text:
            self._sent.append(join.text)
            yield Text(join.text)

    def _note_failure(
        self,
        error: errors.ProviderError,
        line: Line,
        exchange: ProviderCall | None,
        permit: Permit,
        continuing: bool,
    ) -> None:
        """Write the failure down wherever it counts: receipt, partial, circuit, log."""
        attempt = line.failed(error, exchange)
        self.attempts.append(attempt)
        if exchange is not None and exchange is self._speaker:
            finish = "blocked" if isinstance(error, errors.Blocked) else "error"
            partial = with_usage(exchange.partial, line.request)
            self._partial = replace(partial, text="".join(self._sent), finish=finish)
            self._void = self._void or isinstance(error, errors.ReplyTooLarge)
        self._prefix_refused = (
            continuing and attempt.first_token_ms is None and isinstance(error, _PREFIX_REFUSALS)
        )
        if self._prefix_refused:
            self._refuses_prefix.add(permit.target)
        elif isinstance(error, _NOT_THE_TARGETS_FAULT):
            permit.succeeded()
        elif not isinstance(error, errors.Cancelled):
            permit.failed(failures=self.policy.breaker_failures, seconds=self.policy.breaker_seconds)
        self._log(attempt, error)

    def _log(self, attempt: Attempt, error: errors.ProviderError) -> None:
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
