"""Threads that run functions, started as needed and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class WorkerThreads:
    """Runs each function in a thread of its own, an idle one where there is one.

    `concurrent.futures` would join its threads when the process ends, and wait for clients that do not read.
    """

    def __init__(self) -> None:
        self._functions: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def run(self, function: Callable[[], None]) -> None:
        """Run `function`, which must not raise, in a thread. Called by one thread alone."""
        self._functions.put(function)
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="request", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._functions.get()()
            self._idle.release()
