"""Keeps the turns of this process alive in the database, by one thread for all of them.

It stores checkpoints of their texts (the first token at once, then at most one a second), and with each
checkpoint renews the lease that shows that this worker is alive; all that are due go into one bulk write.
It also stops turns that were cancelled by a request to any worker.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bson import ObjectId

from chat.turns import replies
from core.background import BackgroundThread
from core.jobs.set_aside import setting_aside
from core.mongo.engine.errors import is_unreachable

if TYPE_CHECKING:
    from chat.turns.turn import Turn

CHECKPOINT_SECONDS = 1.0
CANCEL_POLL_SECONDS = 0.4

#: Checkpoints that fall due this close together share one write.
GATHER_SECONDS = 0.03

_turns: dict[ObjectId, Turn] = {}
_lock = threading.Lock()
_polled_at = 0.0


def register(turn: Turn) -> None:
    """Keep `turn` alive until `unregister`."""
    with _lock:
        _turns[turn.reply.id] = turn
    _thread.wake()


def unregister(turn: Turn) -> None:
    with _lock:
        _turns.pop(turn.reply.id, None)


def flush_soon() -> None:
    """Store due checkpoints now rather than at the next tick."""
    _thread.wake()


def local_turn(reply_id: ObjectId) -> Turn | None:
    """Return the turn if this process drives it."""
    return _turns.get(reply_id)


def turns() -> list[Turn]:
    """Return the turns that this process drives."""
    with _lock:
        return list(_turns.values())


def interrupt_all() -> None:
    """Stop all turns because this process is stopping. Their partial texts are stored."""
    for turn in turns():
        turn.interrupt()


def _work() -> None:
    global _polled_at
    _flush()
    if _turns and time.monotonic() - _polled_at >= CANCEL_POLL_SECONDS:
        _polled_at = time.monotonic()
        _poll_cancellations()


# If the database fails, the turns go on: their texts are complete in memory and are stored by a later tick.
_thread = BackgroundThread(
    "chat-heartbeat",
    _work,
    interval=lambda: CANCEL_POLL_SECONDS if _turns else None,
    delay_seconds=GATHER_SECONDS,
)


def _flush() -> None:
    now = time.monotonic()
    due = [checkpoint for turn in turns() if (checkpoint := turn.checkpoint(now, CHECKPOINT_SECONDS))]
    if not due:
        return
    try:
        replies.checkpoint_all(due)
    except Exception as error:  # Whatever one of them raises: the leases of the others depend on this.
        if is_unreachable(error):
            raise
        for checkpoint in due:
            _store_alone(checkpoint)


def _store_alone(checkpoint: replies.Checkpoint) -> None:
    with setting_aside("checkpoints", checkpoint.reply_id):
        replies.checkpoint_all([checkpoint])


def _poll_cancellations() -> None:
    """Stop the turns that were cancelled, ended or deleted on whatever worker."""
    ids = [turn.reply.id for turn in turns()]
    for reply_id in set(ids) - replies.still_wanted(ids):
        if turn := local_turn(reply_id):
            turn.cancel()
