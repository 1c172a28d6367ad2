"""The present states of running replies, read for all readers of this process by one query.

Readers that polled by themselves would cost a query each time, and a thousand readers as many.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import Empty, SimpleQueue

from bson import ObjectId

from chat.models import Message
from chat.turns import replies, settlement
from chat.turns.attempts import DELETED
from chat.turns.finished_run import FinishedRun
from chat.turns.lease import suspending_expiry
from chat.turns.reply import Reply
from core.background import BackgroundThread
from core.server import slots

#: How often running replies are read. Their texts grow by one checkpoint a second.
POLL_SECONDS = 0.2


class ReplyWatch:
    """The states of one reply, for one reader."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._states: SimpleQueue[Reply | None] = SimpleQueue()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until `reply` has been read again. False if it was not within `timeout_seconds`.

        A deleted reply counts as interrupted, with an error that says so.
        """
        try:
            state = self._states.get(timeout=timeout_seconds)
            while not self._states.empty():
                state = self._states.get()
        except Empty:
            return False
        self.reply = state or replace(self.reply, status=Message.Status.INTERRUPTED.value, error=DELETED)
        return True

    def put(self, state: Reply | None) -> None:
        """Take the state that was read, None if there is no such reply."""
        self._states.put(state)


_watches: dict[ObjectId, list[ReplyWatch]] = {}
_lock = threading.Lock()


@contextmanager
def watching(reply: Reply) -> Iterator[ReplyWatch]:
    """Watch `reply` within the block, which waits for most of its time: it gives up its request's slot."""
    slots.release_current()
    watch = ReplyWatch(reply)
    with _lock:
        _watches.setdefault(reply.id, []).append(watch)
    _thread.wake()
    try:
        yield watch
    finally:
        with _lock:
            _watches[reply.id].remove(watch)
            if not _watches[reply.id]:
                del _watches[reply.id]


def _poll() -> None:
    with _lock:
        watches = {reply_id: list(of_reply) for reply_id, of_reply in _watches.items()}
    if not watches:
        return
    ids = list(watches)
    with suspending_expiry():
        for ended in replies.interrupt_expired(len(ids), among=ids):
            settlement.settle_soon(FinishedRun.of(ended))
        states = {reply.id: reply for reply in replies.find_replies(ids)}
    for reply_id, of_reply in watches.items():
        for watch in of_reply:
            watch.put(states.get(reply_id))


# If the database fails, readers wait: a later poll reads again.
_thread = BackgroundThread(
    "chat-reply-watch",
    _poll,
    interval=lambda: 0.0 if _watches else None,
    delay_seconds=POLL_SECONDS,
)
