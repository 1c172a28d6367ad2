"""The reader's side of a running turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chat.turns.reply import Reply
from chat.turns.sse import PING_SECONDS, TurnEvent
from core import shutdown

if TYPE_CHECKING:
    from chat.turns.turn import Turn

#: After this silence a reader gets a ping: the next chance may come only ten seconds later.
PING_AFTER_SECONDS = PING_SECONDS / 3


class TurnEvents:
    """The events of a running turn. Its reader pulls them, and so the reader's thread drives the turn.

    A reader that disconnects (`close`) leaves the turn to a thread of its own, which drives it to its end.
    One that reads slowly does not delay it: the server queues what it has not read.
    """

    def __init__(self, turn: Turn, driving: Iterator[TurnEvent | None]) -> None:
        self._turn = turn
        self._driving = driving
        self._over = False
        self._pulled_at = time.monotonic()

    def __iter__(self) -> TurnEvents:
        return self

    def __next__(self) -> TurnEvent | Reply | None:
        if self._over:
            raise StopIteration
        for event in self._driving:
            if event is None and time.monotonic() - self._pulled_at <= PING_AFTER_SECONDS:
                continue
            self._pulled_at = time.monotonic()
            return event
        self._over = True
        return self._turn.reply

    def exhaust(self) -> None:
        """Drive the turn to its end without a reader."""
        for _ in self._driving:
            pass
        self._over = True

    def close(self) -> None:
        """Repeatable."""
        if self._over:
            return
        self._over = True
        shutdown.work.begin()  # here, so that a draining worker sees no gap between request and thread
        threading.Thread(target=self._drain, name="turn-without-reader", daemon=True).start()

    def _drain(self) -> None:
        try:
            for _ in self._driving:
                pass
        finally:
            shutdown.work.end()
