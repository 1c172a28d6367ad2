"""Graceful shutdown: a worker that gets SIGTERM finishes what it has begun and accepts nothing new.

    SIGTERM ─ new requests get 503, /ready says "draining" ─ all work is finished ─ the server stops
                                                           └ after DRAIN_SECONDS: what still runs is
                                                             interrupted, its partial results are stored

granian alone would stop listening at once, and does not know of work that continues without a connection.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from django.conf import settings

#: When a client that was rejected may try again: by then another worker accepts it.
RETRY_AFTER_SECONDS = 2

#: How long interrupted work may take to store its partial results.
FLUSH_SECONDS = 3.0


class _WorkCounter:
    """Counts what this process has begun and not finished."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        with self._changed:
            self._count += 1

    def end(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self, timeout_seconds: float) -> bool:
        """Return whether all work was finished within `timeout_seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout_seconds)


#: Requests, and work that outlives its request: code that calls `begin()` also calls `end()`.
work = _WorkCounter()

_draining = threading.Event()


def is_draining() -> bool:
    """Return whether this worker has stopped accepting requests."""
    return _draining.is_set()


def drain_on_sigterm(*, interrupt: Callable[[], None], flush: Callable[[float], None]) -> None:
    """From now on let SIGTERM wait for this process's work. Call it in the main thread, before others start.

    `interrupt` stops what still runs after DRAIN_SECONDS. `flush` stores what is still in memory,
    within the seconds that it is given.
    """
    # Blocked here and in every thread started later, the signal is left to the thread that waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_drain, args=(interrupt, flush), name="shutdown", daemon=True).start()


def _drain(interrupt: Callable[[], None], flush: Callable[[float], None]) -> None:
    signal.sigwait({signal.SIGTERM})
    _draining.set()
    if not work.wait(settings.DRAIN_SECONDS):
        interrupt()
        work.wait(FLUSH_SECONDS)
    flush(FLUSH_SECONDS)
    while True:  # granian ignores a signal that arrives before it has installed its handlers.
        os.kill(os.getpid(), signal.SIGINT)  # It stops at this one as it does at SIGTERM.
        time.sleep(0.5)
