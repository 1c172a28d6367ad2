"""One thread a process that keeps this worker's running turns alive in the database.

It checkpoints their text (the first token at once, then at most every second)
and with each checkpoint renews the lease that says this worker lives; all due
turns go out in one bulk write. It also stops the turns that somebody asked to
cancel, on whatever worker the request arrived, and frees those whose reader
takes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from bson import ObjectId
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from chat.models import Message

if TYPE_CHECKING:
    from chat.turns.turn import Turn

logger = logging.getLogger("chat.turns.heartbeat")

CHECKPOINT_SECONDS = 1.0
CANCEL_POLL_SECONDS = 0.4

#: A reader that takes no event for so long does not hold its turn up any longer.
SLOW_READER_SECONDS = 1.0

#: Checkpoints that fall due this close together share one write.
GATHER_SECONDS = 0.03

_turns: dict[ObjectId, Turn] = {}
_wake = threading.Event()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def watch(turn: Turn) -> None:
    """Keep `turn` until `forget`."""
    global _thread
    with _lock:
        _turns[turn.reply_id] = turn
        # Started by the first turn, so that no thread exists before a server forks its workers.
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_keep, name="chat-keeper", daemon=True)
            _thread.start()
    _wake.set()


def forget(turn: Turn) -> None:
    with _lock:
        _turns.pop(turn.reply_id, None)


def save_soon() -> None:
    """Have due checkpoints written now rather than at the next tick."""
    _wake.set()


def local_turn(reply_id: ObjectId) -> Turn | None:
    """Return the turn if this process drives it."""
    return _turns.get(reply_id)


def interrupt() -> None:
    """End the turns this process drives: it has no more time for them. Their partial answers are kept."""
    for turn in turns():
        turn.interrupt()


def turns() -> list[Turn]:
    """Return the turns this process drives."""
    with _lock:
        return list(_turns.values())


def _keep() -> None:
    heeded_at = 0.0
    while True:
        _wake.wait(CANCEL_POLL_SECONDS if _turns else None)
        _wake.clear()
        time.sleep(GATHER_SECONDS)
        try:
            _save()
            if _turns and time.monotonic() - heeded_at >= CANCEL_POLL_SECONDS:
                heeded_at = time.monotonic()
                _relieve_slow_readers()
                _heed_cancellations()
        except (PyMongoError, DatabaseError):
            # The turns go on; their text is complete in memory and is written when the database is back.
            logger.warning("checkpoint failed", exc_info=True)


def _save() -> None:
    now = time.monotonic()
    due = [(turn, fields) for turn in turns() if (fields := turn.checkpoint(now, CHECKPOINT_SECONDS))]
    if not due:
        return
    stamp = timezone.now()
    lease = {
        "lease_until": stamp + timedelta(seconds=settings.TURN_LEASE_SECONDS),
        "updated_at": stamp,
    }
    writes = [
        UpdateOne(
            {"_id": turn.reply_id, "run": turn.run_number, "status": Message.Status.STREAMING.value},
            {"$set": {**fields, **lease}},
        )
        for turn, fields in due
    ]
    Message.collection().bulk_write(writes, ordered=False)


def _heed_cancellations() -> None:
    """Stop the turns that somebody cancelled, ended or deleted, on whatever worker that was."""
    ids = [turn.reply_id for turn in turns()]
    wanted = Message.collection().find(
        {"_id": {"$in": ids}, "status": Message.Status.STREAMING.value, "cancel_requested": False}, {"_id": 1}
    )
    for reply_id in set(ids) - {row["_id"] for row in wanted}:
        if turn := local_turn(reply_id):
            turn.cancel()


def _relieve_slow_readers() -> None:
    """Let no turn wait for a reader that takes nothing."""
    for turn in turns():
        turn.relieve(SLOW_READER_SECONDS)
