"""A thread that does one kind of work of this process beside its requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError
from pymongo.errors import PyMongoError

logger = logging.getLogger(__name__)


class BackgroundThread:
    """Calls `work` soon after each `wake()`, and every `interval()` seconds without one.

    `interval` is asked before each wait; None means only when woken. `delay_seconds` lets what
    falls due together share one call. The thread starts with the first `wake()`: none exists
    before a server forks its workers. An error is logged and ends one call, never the thread.
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
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Start the thread if it does not run yet, and have it work soon."""
        self.start()
        self._woken.set()

    def start(self) -> None:
        with self._lock:
            # A forked child has the object of its parent's thread, which is not alive there.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._woken.wait(self._interval())
            self._woken.clear()
            time.sleep(self._delay_seconds)
            try:
                self._work()
            except (PyMongoError, DatabaseError):
                logger.warning("%s: the database failed, trying again", self._name, exc_info=True)
            except Exception:
                logger.exception("%s failed", self._name)
