"""The reader's side of a turn: who iterates drives it, and whoever leaves or stalls loses it to a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chat.turns.following import follow
from chat.turns.outcome import final_events
from chat.turns.sse import PING_SECONDS, Position, TurnEvent
from core import shutdown

if TYPE_CHECKING:
    from chat.turns.turn import Turn

#: A silence of so long is broken by a ping: the next chance may come only another ten seconds later.
PING_AFTER_SECONDS = PING_SECONDS / 3


class TurnEvents:
    """The events of a running turn, pulled by its reader, whose thread thereby drives the turn.

    After the final state come the events that tell it.

    A reader that leaves (`close`) or takes nothing for a while (`relieve`) loses
    the turn to a thread of its own; one that comes back reads on from the stored
    reply, like any other.
    """

    def __init__(self, turn: Turn, events: Iterator[TurnEvent | None]) -> None:
        self._turn = turn
        self._driving = events
        self._following: Iterator[TurnEvent | None] | None = None
        self._position = Position()
        self._over = False
        self._taken_at = time.monotonic()
        self._lock = threading.Lock()

    def __iter__(self) -> TurnEvents:
        return self

    def __next__(self) -> TurnEvent | None:
        with self._lock:
            if self._following is not None:
                return next(self._following)
            try:
                event = self._next_told()
            except StopIteration:
                self._over = True
                self._following = iter(final_events(self._turn.reply))
                return next(self._following)
            if event is not None:
                self._position = Position(event.epoch, event.offset)
            self._taken_at = time.monotonic()
            return event

    def _next_told(self) -> TurnEvent | None:
        """Return the next event; None if the reader has heard nothing for a while."""
        while (event := next(self._driving)) is None:
            if time.monotonic() - self._taken_at > PING_AFTER_SECONDS:
                break
        return event

    def exhaust(self) -> None:
        """Drive the turn to its end without telling anybody."""
        with self._lock:
            for _ in self._driving:
                pass
            self._over = True

    def close(self) -> None:
        with self._lock:
            self._hand_over()

    def relieve(self, after_seconds: float) -> None:
        """Drive on without the reader if it has taken nothing for so long."""
        if not self._lock.acquire(blocking=False):
            return  # it is waiting for the provider, not the provider for it
        try:
            if time.monotonic() - self._taken_at > after_seconds:
                self._hand_over()
        finally:
            self._lock.release()

    def _hand_over(self) -> None:
        if self._over:
            return
        self._over = True
        self._following = follow(self._turn.reply, self._position)
        shutdown.work.begin()  # here, so that a stopping worker sees no gap between request and thread
        threading.Thread(target=self._drain, name="turn-without-reader", daemon=True).start()

    def _drain(self) -> None:
        try:
            for _ in self._driving:
                pass
        finally:
            shutdown.work.end()
