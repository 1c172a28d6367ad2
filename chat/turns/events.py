"""The reader's side of a running turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chat.turns.following import follow
from chat.turns.reply import Reply
from chat.turns.sse import BEGINNING, PING_SECONDS, Position, TurnEvent
from core import shutdown

if TYPE_CHECKING:
    from chat.turns.turn import Turn

#: After this silence a reader gets a ping: the next chance may come only ten seconds later.
PING_AFTER_SECONDS = PING_SECONDS / 3


class TurnEvents:
    """The events of a running turn. Its reader pulls them, and so the reader's thread drives the turn.

    A reader that disconnects (`close`) or stalls (`detach_if_stalled`) leaves the turn to a thread of its
    own, which drives it to its end. If a stalled reader continues, it gets the rest from the stored reply,
    as any other reader does.
    """

    def __init__(self, turn: Turn, driving: Iterator[TurnEvent | None]) -> None:
        self._turn = turn
        self._driving = driving
        self._following: Iterator[TurnEvent | Reply | None] | None = None
        self._position = BEGINNING
        self._over = False
        self._pulled_at = time.monotonic()
        self._lock = threading.Lock()

    def __iter__(self) -> TurnEvents:
        return self

    def __next__(self) -> TurnEvent | Reply | None:
        with self._lock:
            if self._following is not None:
                return next(self._following)
            if self._over:
                raise StopIteration
            for event in self._driving:
                if event is not None:
                    self._position = Position(event.epoch, event.offset)
                elif time.monotonic() - self._pulled_at <= PING_AFTER_SECONDS:
                    continue
                self._pulled_at = time.monotonic()
                return event
            self._over = True
            return self._turn.reply

    def exhaust(self) -> None:
        """Drive the turn to its end without a reader."""
        with self._lock:
            for _ in self._driving:
                pass
            self._over = True

    def close(self) -> None:
        with self._lock:
            self._detach()

    def detach_if_stalled(self, after_seconds: float) -> None:
        """Drive the turn on without its reader if that has pulled nothing for `after_seconds`."""
        if not self._lock.acquire(blocking=False):
            return  # the reader is waiting for the provider
        try:
            if time.monotonic() - self._pulled_at > after_seconds:
                self._detach()
        finally:
            self._lock.release()

    def _detach(self) -> None:
        if self._over:
            return
        self._over = True
        self._following = follow(self._turn.reply, self._position)
        shutdown.work.begin()  # here, so that a draining worker sees no gap between request and thread
        threading.Thread(target=self._drain, name="turn-without-reader", daemon=True).start()

    def _drain(self) -> None:
        try:
            for _ in self._driving:
                pass
        finally:
            shutdown.work.end()
