"""A turn: one question and its answer, from acceptance to the reply's final state.

    admit ── store question and reply ── drive ── one final state ── settle
                     │                     │
                accepted: a crash      checkpoints and a lease
                loses nothing          (chat.turns.heartbeat)

It begins accepted (chat.turns.acceptance): question and a reply of status `streaming`
are stored. Providers are always asked for a stream, whatever the client asked
for: only a stream can be checkpointed, and rescued when it breaks. Whoever
iterates over the turn's events drives it. When the reader goes away
(`TurnEvents.close`) a thread drives it on to its end. The reply document is the
one truth: ledger, quota and the session's counters follow it (chat.turns.settlement).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from django.conf import settings
from django.utils import timezone
from pymongo.errors import PyMongoError

from chat import metrics
from chat.models import ChatSession, Message
from chat.turns import heartbeat, settlement
from chat.turns.events import TurnEvents
from chat.turns.outcome import error_data, start_data
from chat.turns.sse import TurnEvent
from core.mongo.engine.errors import is_unreachable
from llm import canonical, errors
from llm.routing import Run
from tenants.billing.usage import Admission

logger = logging.getLogger("chat.turns.turn")

Status = Message.Status

#: How long a reply's final state is tried to be written while the database is away.
FINAL_WRITE_SECONDS = 60.0


class Turn:
    """One run of one reply while this process drives it.

    Only the thread that iterates over `events` changes the text; the keeper reads
    it (`checkpoint`) and may stop the run (`cancel`) from its own thread.
    """

    def __init__(
        self, session: ChatSession, asked: dict, reply: dict, run: Run, admission: Admission
    ) -> None:
        self.session = session
        self.asked = asked
        self.reply = reply
        self.admission = admission
        self._run = run
        self._events: TurnEvents | None = None
        self._began = time.monotonic()
        self._first_token_ms: int | None = None
        self._lock = threading.Lock()
        self._parts: list[str] = []
        self._length = 0
        self._interrupted = False
        self._epoch: int = reply["epoch"]
        self._target = canonical.Target(reply["provider"], reply["model"])
        self._saved_length = -1
        self._saved_at = self._began

    @property
    def reply_id(self) -> ObjectId:
        return self.reply["_id"]

    @property
    def run_number(self) -> int:
        return self.reply["run"]

    # -- the driving thread ----------------------------------------------------

    def events(self) -> TurnEvents:
        """Begin. Iterating over the result drives the turn; closing it drives it on without a reader."""
        self._events = TurnEvents(self, self._drive())
        heartbeat.watch(self)
        metrics.running_turns.inc()
        return self._events

    def finish(self) -> dict:
        """Drive the turn to its end and return the reply's document."""
        self.events().exhaust()
        return self.reply

    def _drive(self) -> Iterator[TurnEvent | None]:
        try:
            yield from self._answer()
        except Exception:  # a bug of ours: the reply must not stay "streaming" until its lease ends
            logger.exception("turn broke", extra={"reply": str(self.reply_id)})
            self._end(Status.INTERRUPTED, None, error_data(errors.ProviderError("The answer broke off.")))
        finally:
            heartbeat.forget(self)
            metrics.running_turns.dec()

    def _answer(self) -> Iterator[TurnEvent | None]:
        """Yield the turn's events; None where a silent client may be told that it is still served."""
        started = False
        for event in self._run:
            match event:
                case canonical.Started(target):
                    self._target = target
                    if not started:
                        started = True
                        yield self._event("start", start_data(self.reply, target.provider, target.model))
                case canonical.Text(text):
                    self._append(text)
                    yield self._event("delta", {"text": text})
                case canonical.Restarted(reason, target):
                    self._restart(target)
                    yield self._event(
                        "restart", {"reason": reason, "provider": target.provider, "model": target.model}
                    )
                case canonical.Finished(completion):
                    self._target = completion.target
                    self._end(Status.COMPLETE, completion, None)
                case canonical.Failed(errors.Cancelled(), partial) if self._interrupted:
                    self._end(Status.INTERRUPTED, partial, settlement.INTERRUPTED)
                case canonical.Failed(error, partial):
                    self._end(_failed_status(error, self._length), partial, error_data(error))
                case canonical.Waiting() | canonical.Reasoning():
                    yield None

    def _append(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)
            self._length += len(text)
        if self._first_token_ms is None:
            self._first_token_ms = self._milliseconds()
            heartbeat.save_soon()

    def _restart(self, target: canonical.Target) -> None:
        with self._lock:
            self._parts.clear()
            self._length = 0
            self._epoch += 1
            self._target = target
            self._saved_length = -1
        heartbeat.save_soon()

    def _end(
        self, status: Status, completion: canonical.Completion | None, error: dict[str, Any] | None
    ) -> None:
        """Write the final state. If another worker gave the reply one, take over that."""
        fields = self._final_fields(status, completion, error)
        final = _write_final(self.reply_id, self.run_number, fields)
        if final is None:
            final = {**self.reply, "status": Status.INTERRUPTED.value}
        if (final["run"], final["status"]) == (self.run_number, status):
            metrics.replies.labels(status.value).inc()
        else:
            logger.warning("reply was ended elsewhere", extra={"reply": str(self.reply_id)})
        if final["settled"] is False:
            settlement.settle_soon(final)
        self.reply = final

    def _final_fields(
        self, status: Status, completion: canonical.Completion | None, error: dict[str, Any] | None
    ) -> dict[str, Any]:
        attempts = [attempt_data(attempt, self.run_number) for attempt in self._run.attempts]
        for attempt in self._run.attempts:
            metrics.attempts.labels(attempt.target.provider, attempt.outcome).inc()
        usage = completion.usage if completion else canonical.Usage()
        costs = [attempt.cost for attempt in self._run.attempts if attempt.cost is not None]
        answering = self._run.attempts[-1] if self._run.attempts else None
        now = timezone.now()
        return {
            "content": "".join(self._parts),
            "epoch": self._epoch,
            "status": status.value,
            "provider": self._target.provider,
            "model": (completion and completion.model_used) or self._target.model,
            "finish": completion.finish if completion and status == Status.COMPLETE else "",
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "cached_tokens": usage.cached,
            "reasoning_tokens": usage.reasoning,
            "tokens_estimated": usage.estimated,
            "cost": Decimal128(sum(costs, Decimal(0))) if costs else None,
            "cost_basis": answering.cost_basis if answering else "unpriced",
            "first_token_ms": self._first_token_ms,
            "latency_ms": self._milliseconds(),
            "attempts": [*self.reply["attempts"], *attempts],
            "error": error,
            "finished_at": now,
            "updated_at": now,
            "lease_until": None,
            "settled": False,
        }

    def _milliseconds(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    # -- events ----------------------------------------------------------------

    def _event(self, name: str, data: dict[str, Any]) -> TurnEvent:
        return TurnEvent(name, data, self._epoch, self._length)

    # -- the keeper's thread ---------------------------------------------------

    def checkpoint(self, now: float, every_seconds: float) -> dict[str, Any] | None:
        """Return the fields to store now: new text, or a lease to renew. None when neither is due.

        `now` is monotonic. The first token and a restart are due at once.
        """
        with self._lock:
            grown = self._length != self._saved_length and self._first_token_ms is not None
            first = grown and self._saved_length < 0
            overdue = now - self._saved_at >= (every_seconds if grown else settings.TURN_LEASE_SECONDS / 4)
            if not (first or overdue):
                return None
            self._saved_length, self._saved_at = self._length, now
            return {
                "content": "".join(self._parts),
                "epoch": self._epoch,
                "provider": self._target.provider,
                "model": self._target.model,
            }

    def cancel(self) -> None:
        """Stop the run; the driving thread then writes the final state."""
        self._run.cancel()

    def interrupt(self) -> None:
        """Stop the run because this process is stopping; the reply can be retried."""
        self._interrupted = True
        self._run.cancel()

    def relieve(self, after_seconds: float) -> None:
        self._events.relieve(after_seconds)


def _failed_status(error: Exception, length: int) -> Status:
    if isinstance(error, errors.Cancelled):
        return Status.CANCELLED
    return Status.INTERRUPTED if length else Status.FAILED


def _write_final(reply_id: ObjectId, run: int, fields: dict[str, Any]) -> dict | None:
    """Give a running reply its final state; return the state it has then, None when the reply is gone.

    Tried again while the database is away: the answer exists nowhere else.
    """
    deadline = time.monotonic() + FINAL_WRITE_SECONDS
    running = {"_id": reply_id, "run": run, "status": Status.STREAMING.value}
    while True:
        try:
            replies = Message.collection()
            final = replies.find_one_and_update(running, {"$set": fields}, return_document=True)
            # It has one already: from another worker, or from a write of ours whose answer was lost.
            return final or replies.find_one({"_id": reply_id})
        except PyMongoError as error:
            if not is_unreachable(error) or time.monotonic() > deadline:
                raise
            logger.warning("final state is not stored yet", extra={"reply": str(reply_id)})
            time.sleep(0.25)


def attempt_data(attempt: canonical.Attempt, run: int) -> dict[str, Any]:
    """Return one line of the receipt as it is stored."""
    usage = attempt.usage
    return {
        "run": run,
        "target": str(attempt.target),
        "provider": attempt.target.provider,
        "model": attempt.target.model,
        "model_used": attempt.model_used,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "reason": attempt.reason,
        "waited_ms": attempt.waited_ms,
        "first_token_ms": attempt.first_token_ms,
        "latency_ms": attempt.latency_ms,
        "response_id": attempt.response_id,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
        "tokens_estimated": usage.estimated,
        "cost": None if attempt.cost is None else f"{attempt.cost:f}",
        "cost_basis": attempt.cost_basis,
    }
