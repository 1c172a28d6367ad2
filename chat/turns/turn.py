"""A turn: one question and its answer, from acceptance to the reply's final state.

    admit ── store question and reply ── drive ── one final state ── settle
                     │                     │
                accepted: a crash      checkpoints and a lease
                loses nothing          (chat.turns.heartbeat)

It begins accepted (chat.turns.acceptance): question and a reply of status `streaming` are stored. Providers
are always asked for a stream, whatever the client asked for: only a stream can be checkpointed, and rescued
when it breaks. The thread that iterates over the turn's events drives it. When its reader disconnects
(`TurnEvents.close`), another thread drives it to its end. The stored reply is the single source of truth:
ledger, usage and the session's counters are derived from it (chat.turns.settlement).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from chat.models import Message
from chat.turns import heartbeat, metrics, replies, settlement
from chat.turns.attempts import DELETED, INTERRUPTED, StoredError, stored_attempt, stored_error
from chat.turns.capacity import StreamPermit
from chat.turns.events import TurnEvents
from chat.turns.finished_run import FinishedRun
from chat.turns.question import Question
from chat.turns.replies import Checkpoint
from chat.turns.reply import Reply
from chat.turns.sse import TurnEvent, restart_event, start_event
from core.server import slots
from llm import canonical, errors
from llm.routing import Run
from tenants.billing.usage import Admission

logger = logging.getLogger(__name__)

Status = Message.Status


class Turn:
    """One run of one reply while this process drives it.

    Only the thread that iterates over `events` changes the text. The thread of the heartbeat reads it
    (`checkpoint`) and may stop the run (`cancel`).
    """

    def __init__(
        self,
        question: Question,
        reply: Reply,
        run: Run,
        admission: Admission,
        permit: StreamPermit,
        route: Sequence[canonical.Target],
    ) -> None:
        self.question = question
        self.reply = reply
        self.admission = admission
        self.route = route
        self._permit = permit
        self._run = run
        self._began = time.monotonic()
        self._first_token_ms: int | None = None
        self._lock = threading.Lock()
        self._parts: list[str] = []
        self._length = 0
        self._interrupted = False
        self._epoch = reply.epoch
        self._target = reply.target
        self._saved_length = -1
        self._saved_at = self._began
        self._events = TurnEvents(self, self._drive())

    # -- the driving thread ----------------------------------------------------

    def events(self) -> TurnEvents:
        """Begin. Iterating over the result drives the turn; closing it detaches the reader."""
        heartbeat.register(self)
        metrics.running_turns.inc()
        return self._events

    def finish(self) -> Reply:
        """Drive the turn to its end and return the final reply."""
        self.events().exhaust()
        return self.reply

    def _drive(self) -> Iterator[TurnEvent | None]:
        """Yield the events of the turn; None where a silent client may get a ping."""
        slots.release_current()  # from here on it waits for the provider
        try:
            yield start_event(self.reply, self._target, self._epoch)
            for event in self._run:
                yield self._processed(event)
        except Exception:  # a bug of ours: the reply must not stay "streaming" until its lease expires
            logger.exception("turn failed", extra={"reply": str(self.reply.id)})
            self._end(Status.INTERRUPTED, None, stored_error(errors.ProviderError("The answer broke off.")))
        finally:
            heartbeat.unregister(self)
            metrics.running_turns.dec()
            self._permit.release()

    def _processed(self, event: canonical.Event) -> TurnEvent | None:
        """Apply an event of the run; return the event for the reader, if there is one."""
        match event:
            case canonical.Started(target):
                self._target = target
            case canonical.Text(text) | canonical.Refusal(text):
                self._append(text)
                return TurnEvent("delta", {"text": text}, self._epoch, self._length)
            case canonical.Restarted(reason, target):
                self._restart(target)
                return restart_event(reason, target, self._epoch)
            case canonical.Finished(completion):
                self._target = completion.target
                self._end(Status.COMPLETE, completion, None)
            case canonical.Failed(error, partial):
                if partial is not None:  # Its model and provider are those of the attempt that it is from.
                    self._target = partial.target
                if isinstance(error, errors.Cancelled) and self._interrupted:
                    self._end(Status.INTERRUPTED, partial, INTERRUPTED)
                    return None
                self._end(_failed_status(error, self._length), partial, stored_error(error))
        return None

    def _append(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)
            self._length += len(text)
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()
            heartbeat.flush_soon()

    def _restart(self, target: canonical.Target) -> None:
        with self._lock:
            self._parts.clear()
            self._length = 0
            self._epoch += 1
            self._target = target
            self._saved_length = -1
        heartbeat.flush_soon()

    def _end(
        self, status: Status, completion: canonical.Completion | None, error: StoredError | None
    ) -> None:
        """Write the final state. If another worker has ended the run, take over that state."""
        final = self._final_reply(status, completion, error)
        stored = replies.write_final(final)
        if stored is None:
            # Erased meanwhile. What it has used counts all the same, like that of a run that is not stored.
            settlement.settle_soon(replace(FinishedRun.of(final), session_id=None, kept_bytes=0))
            stored = replace(self.reply, status=Status.INTERRUPTED.value, error=DELETED)
        if (stored.run, stored.status) == (self.reply.run, status):
            metrics.replies.labels(status.value).inc()
        else:
            logger.warning("reply was ended by another worker", extra={"reply": str(self.reply.id)})
        if stored.settled is False:
            settlement.settle_soon(FinishedRun.of(stored))
        self.reply = stored

    def _final_reply(
        self, status: Status, completion: canonical.Completion | None, error: StoredError | None
    ) -> Reply:
        attempts = self._run.attempts
        usage = completion.usage if completion else canonical.Usage()
        costs = [attempt.cost for attempt in attempts if attempt.cost is not None]
        now = timezone.now()
        return replace(
            self.reply,
            content="".join(self._parts),
            epoch=self._epoch,
            status=status.value,
            provider=self._target.provider,
            model=(completion and completion.model_used) or self._target.model,
            finish=completion.finish if completion and status == Status.COMPLETE else "",
            input_tokens=usage.input,
            output_tokens=usage.output,
            cached_tokens=usage.cached,
            reasoning_tokens=usage.reasoning,
            tokens_estimated=usage.estimated,
            cost=sum(costs, Decimal(0)) if costs else None,
            cost_basis=attempts[-1].cost_basis if attempts else "unpriced",
            first_token_ms=self._first_token_ms,
            latency_ms=self._elapsed_ms(),
            attempts=[
                *self.reply.attempts,
                *(stored_attempt(attempt, self.reply.run) for attempt in attempts),
            ],
            error=error,
            settled=False,
            finished_at=now,
            updated_at=now,
        )

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    # -- the thread of the heartbeat -------------------------------------------

    def checkpoint(self, now: float, every_seconds: float) -> Checkpoint | None:
        """Return what is to be stored now: new text, or the same to renew the lease. None if neither is due.

        `now` is monotonic. The first token and a restart are due at once.
        """
        with self._lock:
            grown = self._length != self._saved_length and self._first_token_ms is not None
            first = grown and self._saved_length < 0
            overdue = now - self._saved_at >= (every_seconds if grown else settings.TURN_LEASE_SECONDS / 4)
            if not (first or overdue):
                return None
            self._saved_length, self._saved_at = self._length, now
            return Checkpoint(self.reply.id, self.reply.run, self._epoch, "".join(self._parts), self._target)

    def cancel(self) -> None:
        """Stop the run; the driving thread then writes the final state."""
        self._run.cancel()

    def interrupt(self) -> None:
        """Stop the run because this process is stopping; the reply can be retried."""
        self._interrupted = True
        self._run.cancel()


def _failed_status(error: Exception, length: int) -> Status:
    if isinstance(error, errors.Cancelled):
        return Status.CANCELLED
    return Status.INTERRUPTED if length else Status.FAILED
