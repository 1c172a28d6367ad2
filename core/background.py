"""A daemon thread for one kind of periodic work of this process, beside its requests."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable

from django.db import DatabaseError
from pymongo.errors import PyMongoError

logger = logging.getLogger(__name__)


class BackgroundThread:
    """Calls `work` soon after each `wake()`, and `interval()` seconds after the last call without one.

    `interval` is called before each wait; None means: only when woken. Wake-ups within
    `delay_seconds` share one call. The thread starts with the first `wake()` or `start()`, so that
    a server forks its workers before any exists; a forked child starts its own. An exception is
    logged and ends that call of `work`, never the thread.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        *,
        interval: Callable[[], float | None],
        delay_seconds: float,
    ) -> None:
        self._name = name
        self._work = work
        self._interval = interval
        self._delay_seconds = delay_seconds
        self._reset()
        # A child inherits locks as they are at that instant, but not the threads that would release them.
        os.register_at_fork(after_in_child=self._reset)
        _all.add(self)

    def _reset(self) -> None:
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have `work` called soon."""
        self.start()
        self._woken.set()

    def start(self) -> None:
        """Start the thread if it does not run yet."""
        with self._lock:
            if self._thread is None:
                events = (self._woken, self._stopping)
                self._thread = threading.Thread(target=self._run, args=events, name=self._name, daemon=True)
                self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """End the thread after the call of `work` that runs now, if any; a later `wake()` starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
            self._woken.set()
            self._stopping, self._woken = threading.Event(), threading.Event()
        if thread is not None:
            thread.join(timeout_seconds)

    def _run(self, woken: threading.Event, stopping: threading.Event) -> None:
        while not stopping.is_set():
            woken.wait(self._interval())
            if stopping.wait(self._delay_seconds):
                return
            woken.clear()  # Before the work: a wake-up during it leads to another call.
            try:
                self._work()
            except (PyMongoError, DatabaseError):
                logger.warning("%s: the database failed, trying again", self._name, exc_info=True)
            except Exception:
                logger.exception("%s failed", self._name)


_all: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()


def stop_all(timeout_seconds: float) -> None:
    """End all background threads of this process, as tests do; the next `wake()` of one starts it again."""
    for thread in list(_all):
        thread.stop(timeout_seconds)
