"""Runs a request along a route of targets and turns it into one stream of events.

`Run` calls the targets of a route until one gives a complete answer. Its parts: `policy` has
the limits, `failover_plan` decides which target follows which failure, `rescue` splices a
further attempt onto what the client already has, `breaker` skips targets that keep failing,
`receipt` records every attempt.
"""

from __future__ import annotations

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
    Reasoning,
    Refusal,
    Request,
    Restarted,
    Retracted,
    Started,
    Target,
    Text,
    ToolCallDelta,
    Waiting,
)
from llm.catalogue import catalogue
from llm.failed_calls import FINAL, Failures, is_provoked, log_failure
from llm.failover_plan import FailoverPlan, NextCall
from llm.fitting import fitted
from llm.policy import Policy
from llm.providers import Provider, ProviderCall
from llm.reasoning_models import first_token_factor
from llm.receipt import AttemptRecorder, skipped, with_usage
from llm.rescue import Splice, StreamSplicer, can_be_continued, continuation
from llm.route import default_route, parse_route
from llm.windows import WINDOWS, with_fitting_history

__all__ = ["Policy", "Run", "complete", "default_route", "parse_route"]

#: How a model that accepts no assistant prefix rejects it: with an error, or an empty answer.
_PREFIX_REJECTIONS = (errors.BadRequest, errors.BadReply)

#: Called before every further call with the receipt so far, and the request and target of that call.
#: Raises OutOfBudget if it must not be made.
BudgetCheck = Callable[[Sequence[Attempt], Request, Target], None]


def complete(
    request: Request, route: Sequence[Target], *, stream: bool = True, policy: Policy | None = None
) -> Completion:
    """Return the complete answer. Raises ProviderError; its `attempts` is the receipt."""
    return Run(request, route, stream=stream, policy=policy).complete()


class Run:
    """One request along a route; iterate over it once.

    Yields Started · (Text | Refusal | Reasoning | ToolCallDelta | Restarted)* · (Finished | Failed), with
    exactly one Finished or Failed, last. `attempts` is then the complete receipt. The texts and refusals
    since the last Restarted, joined, are those of Finished, or of Failed's partial. Only
    ProviderError is caught, so that bugs of ours surface.

    `stream` is how the provider is called. Only streams have a first token to wait for and can
    be rescued: nothing of a whole answer is visible before its end. With `emit_waiting` there
    is also a Waiting after every failed call, and before every further one. `check_budget` is
    called before every further call; the run ends with the OutOfBudget that it raises. `origin` is whose
    run it is (a tenant): what it provokes opens no circuit of others. Without `can_restart` its reader has no
    use for Restarted: an answer that is finished is then passed on as it is, rather than asked for again.
    `breakers` and `provider_of` replace those of this process.
    """

    plan_class = FailoverPlan

    def __init__(
        self,
        request: Request,
        route: Sequence[Target],
        *,
        stream: bool = True,
        emit_waiting: bool = False,
        can_restart: bool = True,
        check_budget: BudgetCheck | None = None,
        policy: Policy | None = None,
        origin: str = "",
        breakers: Breakers = BREAKERS,
        provider_of: Callable[[str], Provider] = providers.get,
    ) -> None:
        self.request = request
        self.stream = stream
        self.emit_waiting = emit_waiting
        self.policy = policy or Policy.from_settings()
        self.attempts: list[Attempt] = []
        self._can_restart = can_restart
        self._check_budget = check_budget
        self._breakers = breakers
        self._provider_of = provider_of
        self._catalogue = catalogue()
        self._plan = self.plan_class(
            route, self.policy, breakers, self._catalogue, origin=origin, on_skip=self._record_skipped
        )
        self._origin = origin
        self._deadline = 0.0
        self._failures = Failures()

        # What the client has received, and from which call.
        self._started = False
        self._sent: list[str] = []
        self._sent_by: ProviderCall | None = None
        # It can only be replaced: it has tool calls, or is an answer without end.
        self._unspliceable = False
        self._partial: Completion | None = None
        self._rejects_prefix: set[Target] = set()
        self._prefix_rejected = False
        # How much of the history each target has refused as too long.
        self._refused_history: dict[Target, int] = {}
        # After one answer with a call that cannot be used, the next such one is handed out.
        self._checks_tools = True

        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._call: ProviderCall | None = None

    def cancel(self) -> None:
        """Stop the run, from any thread: its reader gets Failed(Cancelled) with the partial answer."""
        self._cancelled.set()
        with self._lock:
            if self._call is not None:
                self._call.close()

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
        next_call = self._plan.next()
        while next_call is not None and self._wait_for(next_call):
            try:
                completion = yield from self._attempt(next_call)
            except errors.ProviderError as error:
                if self.emit_waiting:
                    yield Waiting()
                next_call = self._next_after(error, next_call.target)
            else:
                yield Finished(completion)
                return
        yield Failed(self._final_error(), self._partial)

    @property
    def _remaining_seconds(self) -> float:
        return self._deadline - time.monotonic()

    # -- between attempts -------------------------------------------------------

    def _wait_for(self, next_call: NextCall) -> bool:
        """Wait until the call is due; False if the budget or the time is used up, or the run cancelled."""
        due = False
        try:
            if self._check_budget is not None and self.attempts:
                self._check_budget(self.attempts, self._request_to(next_call.target), next_call.target)
            due = not self._cancelled.wait(next_call.wait_seconds) and self._remaining_seconds > 0
        except errors.OutOfBudget as error:
            self._failures.add(error, next_call.target)
        finally:
            if not due:
                next_call.permit.release()
        return due

    def _next_after(self, error: errors.ProviderError, target: Target) -> NextCall | None:
        self._failures.add(error, target)
        if self._prefix_rejected:
            return self._plan.retry(target) or self._plan.next()
        began = self.attempts[-1].first_token_ms is not None
        next_call = self._plan.next_after(
            error, target, began=began, remaining_seconds=self._remaining_seconds
        )
        if next_call is not None or isinstance(error, FINAL):
            return next_call
        return self._plan.repeat_shorter(self._would_be_shorter)

    def _would_be_shorter(self, target: Target) -> bool:
        """Whether a request to `target` would have less of the history than the one it has refused."""
        return self._with_history_for(target).history < self._refused_history.get(target, 0)

    def _record_skipped(self, target: Target) -> None:
        seconds = self._breakers.seconds_until_probe(target, self._origin)
        error = errors.CircuitOpen(
            f"{target} has failed repeatedly and is not called for {seconds:.0f} s.",
            provider=target.provider,
            retry_after_seconds=seconds,
        )
        self.attempts.append(skipped(target, error))
        self._failures.add(error, target, is_last=self._failures.last is None)

    def _final_error(self) -> errors.ProviderError:
        if self._cancelled.is_set():
            return errors.Cancelled("The answer was cancelled.")
        return self._failures.final_error(self.attempts)

    # -- one attempt --------------------------------------------------------------

    def _attempt(self, next_call: NextCall) -> Generator[Event, None, Completion]:
        """Call the target, pass its events on and return the complete answer. Raises ProviderError.

        In every case the call is closed, and receipt and circuit breaker have its outcome.
        """
        permit, target = next_call.permit, next_call.target
        request = self._request_to(target)
        continuing = request.messages[-1:] != self.request.messages[-1:]
        splicer = self._splicer("".join(self._sent), continuing)
        recorder = AttemptRecorder(target, request, self._catalogue, next_call.wait_seconds)
        call: ProviderCall | None = None
        try:
            if self.emit_waiting and self.attempts:
                yield Waiting()
            call = self._open(request, target)
            completion = yield from self._pass_on(call, target, splicer)
        except errors.ProviderError as error:
            self._record_failure(error, recorder, call, permit, continuing)
            raise
        except GeneratorExit:
            self.attempts.append(recorder.failed(errors.Cancelled("The reader left."), call))
            raise
        else:
            completion = with_usage(completion, request)
            self.attempts.append(recorder.succeeded(call, completion))
            permit.record_success()
            return replace(completion, text="".join(self._sent).removesuffix(completion.refusal))
        finally:
            permit.release()
            if call is not None:
                call.close()

    def _request_to(self, target: Target) -> Request:
        """Return the request to send to `target` now, or its continuation where possible."""
        sent = "".join(self._sent)
        request = self._with_history_for(target)
        return continuation(request, sent) if self._may_continue(target, sent) else request

    def _with_history_for(self, target: Target) -> Request:
        """Return the request with as much of its history as fits into the window of `target`."""
        return with_fitting_history(self.request, WINDOWS.get(target, self._origin))

    def _may_continue(self, target: Target, sent: str) -> bool:
        return (
            bool(self._catalogue.get(target).assistant_prefix)
            and target not in self._rejects_prefix
            and not self._unspliceable
            and can_be_continued(self.request, sent)
        )

    def _splicer(self, sent: str, continuing: bool) -> StreamSplicer | None:
        if not sent and not self._unspliceable:
            return None
        return StreamSplicer(sent, continuing=continuing, unspliceable=self._unspliceable)

    def _open(self, request: Request, target: Target) -> ProviderCall:
        seconds = self._remaining_seconds
        if not self.stream and self._plan.has_more:
            # A whole answer gives no sign of life; half the time must remain for the other targets.
            seconds /= 2
        provider = self._provider_of(target.provider)
        limits = self.policy.limits(
            seconds,
            first_token_factor=first_token_factor(target, request.reasoning_effort),
            is_last=not self._plan.has_more,
        )
        request = fitted(request, self._catalogue.get(target))
        call = provider.open(
            request,
            target.model,
            stream=self.stream,
            limits=limits,
            checks_tools=self._checks_tools and self._plan.may_retry,
            can_restart=self._can_restart,
        )
        with self._lock:
            if self._cancelled.is_set():
                raise errors.Cancelled("The answer was cancelled.", provider=target.provider)
            self._call = call
        return call

    def _pass_on(
        self, call: ProviderCall, target: Target, splicer: StreamSplicer | None
    ) -> Generator[Event, None, Completion]:
        """Pass on the events of a call, spliced onto what the client has; return the call's completion."""
        before = "".join(self._sent)
        for event in call:
            if isinstance(event, Waiting):
                if self.emit_waiting:
                    yield event
                continue
            if not self._started:
                self._started = True
                yield Started(target)
            if isinstance(event, Retracted):
                if splicer is None:
                    yield from self._retracted(before, target)
                else:
                    splicer = self._splicer(before, splicer.continuing)
                continue
            if splicer is not None and not isinstance(event, Reasoning):
                kind = Refusal if isinstance(event, Refusal) or call.partial.refusal else Text
                splice = splicer.feed(event.text) if isinstance(event, Text | Refusal) else splicer.end()
                if splice is None:
                    continue
                splicer = None
                before = "" if splice.restart else before
                yield from self._spliced(splice, kind, call, target)
                if isinstance(event, Text | Refusal):
                    continue
            if isinstance(event, Text | Refusal):
                self._sent_by = call
                self._sent.append(event.text)
            elif isinstance(event, ToolCallDelta):
                self._sent_by = call
                self._unspliceable = True
            elif isinstance(event, Finished):
                return event.completion
            yield event
        raise AssertionError("A call ends with Finished or raises.")

    def _retracted(self, before: str, target: Target) -> Iterator[Event]:
        """Take back the text of the present call, and keep what was sent before it."""
        self._sent.clear()
        self._unspliceable = False
        yield Restarted("reasoning", target)
        if before:
            self._sent.append(before)
            yield Text(before)

    def _spliced(
        self, splice: Splice, kind: type[Text] | type[Refusal], call: ProviderCall, target: Target
    ) -> Iterator[Event]:
        self._sent_by = call
        if splice.restart:
            self._sent.clear()
            self._unspliceable = False
            yield Restarted(self._failures.last.kind if self._failures.last else "", target)
        if splice.text:
            self._sent.append(splice.text)
            yield kind(splice.text)

    def _record_failure(
        self,
        error: errors.ProviderError,
        recorder: AttemptRecorder,
        call: ProviderCall | None,
        permit: Permit,
        continuing: bool,
    ) -> None:
        """Record the failure in receipt, partial answer, circuit breaker and log."""
        attempt = recorder.failed(error, call)
        self.attempts.append(attempt)
        if call is not None and call is self._sent_by:
            partial = with_usage(call.partial, recorder.request)
            self._partial = replace(
                partial,
                text="".join(self._sent).removesuffix(partial.refusal),
                finish="blocked" if isinstance(error, errors.Blocked) else "error",
            )
            self._unspliceable = self._unspliceable or isinstance(error, errors.ReplyTooLarge)
        # A body that is too large for this host may be right for the next; for the last one it is too long.
        if isinstance(error, errors.ContextTooLong) and not (error.of_the_body and self._plan.has_more):
            self._refused_history[permit.target] = recorder.request.history
            if recorder.request.history:
                provider = self._provider_of(permit.target.provider)
                WINDOWS.learn(permit.target, recorder.request, error, origin=self._origin, provider=provider)
        self._checks_tools = self._checks_tools and not getattr(error, "by_model", False)
        self._prefix_rejected = (
            continuing and attempt.first_token_ms is None and isinstance(error, _PREFIX_REJECTIONS)
        )
        if self._prefix_rejected:
            self._rejects_prefix.add(permit.target)
        elif is_provoked(error):
            permit.record_success()
        elif not isinstance(error, errors.Cancelled) and not getattr(error, "out_of_time", False):
            permit.record_failure(failures=self.policy.breaker_failures, seconds=self.policy.breaker_seconds)
        self._log(attempt, error)

    def _log(self, attempt: Attempt, error: errors.ProviderError) -> None:
        log_failure(attempt, error)
