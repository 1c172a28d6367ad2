"""Reading a reply that another thread or worker drives, from what is stored of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace

from django.db import DatabaseError
from pymongo.errors import PyMongoError

from chat.models import Message
from chat.turns import replies, settlement
from chat.turns.attempts import DELETED
from chat.turns.finished_run import FinishedRun
from chat.turns.lease import suspending_expiry
from chat.turns.reply import Reply
from chat.turns.sse import BEGINNING, PING_SECONDS, Position, TurnEvent, restart_event, start_event

#: How often a running reply is read. Its text grows by one checkpoint a second.
POLL_SECONDS = 0.2


def follow(
    reply: Reply, position: Position = BEGINNING, is_over: Callable[[], bool] = lambda: False
) -> Generator[TurnEvent | Reply | None]:
    """Yield the events of `reply` after `position`, and at last the reply in its final state.

    The texts of the deltas, appended to what the client had, are the reply's content. A client whose text
    has been replaced since gets `restart` and the present text from its beginning. None means that a ping is
    due. A reply whose worker is dead is interrupted. The generator ends early once `is_over()`.
    """
    epoch, offset = position
    if epoch == 0:
        yield start_event(reply, reply.target, reply.epoch)
        epoch = reply.epoch
    sent_at = time.monotonic()
    while not is_over():
        # While it runs, the stored text may be a checkpoint behind what its first reader has got.
        is_ahead = reply.epoch < epoch or offset > len(reply.content)
        if reply.epoch > epoch or (is_ahead and not reply.is_running):
            epoch, offset = reply.epoch, 0
            yield restart_event("restarted", reply.target, epoch)
        if text := reply.content[offset:] if reply.epoch == epoch else "":
            offset += len(text)
            sent_at = time.monotonic()
            yield TurnEvent("delta", {"text": text}, epoch, offset)
        if not reply.is_running:
            yield reply
            return
        if time.monotonic() - sent_at > PING_SECONDS:
            sent_at = time.monotonic()
            yield None
        time.sleep(POLL_SECONDS)
        reply = _reloaded(reply)


def wait_for_end(reply: Reply, timeout_seconds: float) -> Reply:
    """Return the reply in its final state, or as it is after `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while reply.is_running and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 2)
        reply = _reloaded(reply)
    return reply


def _reloaded(reply: Reply) -> Reply:
    """Return the reply as it is now, interrupted if its worker is dead."""
    try:
        with suspending_expiry():
            present = replies.find_reply(reply.id)
        if present is None:
            return replace(reply, status=Message.Status.INTERRUPTED.value, error=DELETED)
        if not present.is_running:
            return present
        ended = replies.interrupt_if_lease_expired(present.id, present.run, present.target)
        if ended is None:
            return present
        settlement.settle_soon(FinishedRun.of(ended))
        return ended
    except (PyMongoError, DatabaseError):
        return reply  # unreachable for a moment: the next poll reads again
