"""Leaving in order: a worker that is asked to stop finishes what it has begun and begins nothing new.

    SIGTERM ─ new requests are refused, /ready says "draining" ─ all is finished ─ the server's own stop
                                                              └ or DRAIN_SECONDS are over: what still runs
                                                                is ended, its partial work kept

granian would stop listening at once and not know of work that goes on without a connection.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from core.api.errors import problem_response

#: Answered to the end, so that whoever watches sees the worker leave rather than vanish.
PROBES = {"/health", "/ready", "/status", "/metrics"}

#: When a refused client may try again: by then another worker takes it.
RETRY_AFTER_SECONDS = 2

#: What ended work may take to be put away.
PUT_AWAY_SECONDS = 3.0


class _Work:
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

    def wait(self, seconds: float) -> bool:
        """Return whether all was finished within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, seconds)


#: Requests, and whatever goes on after its request: who begins such work also ends it here.
work = _Work()

_stopping = threading.Event()


def is_stopping() -> bool:
    """Whether this worker takes no new requests any more."""
    return _stopping.is_set()


def finish_before_stopping(end: Callable[[], None], put_away: Callable[[float], None]) -> None:
    """From now on have SIGTERM wait for this process's work. Call it in the main thread, before others start.

    `end` is called when the time is over and stops what still runs; `put_away`, given the seconds it may
    take, stores what is still in memory.
    """
    # Blocked here and in every thread to come, the signal waits for the one that asks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_leave, args=(end, put_away), name="draining", daemon=True).start()


def _leave(end: Callable[[], None], put_away: Callable[[float], None]) -> None:
    signal.sigwait({signal.SIGTERM})
    _stopping.set()
    if not work.wait(settings.DRAIN_SECONDS):
        end()
        work.wait(PUT_AWAY_SECONDS)
    put_away(PUT_AWAY_SECONDS)
    while True:  # Asked before the server listens to it, it would not hear the first one.
        os.kill(os.getpid(), signal.SIGINT)  # granian stops at it as it does at SIGTERM.
        time.sleep(0.5)


class Refusal:
    """Django middleware: 503 for new requests while the worker is stopping."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_stopping() or request.path in PROBES:
            return self.get_response(request)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return problem_response(request, 503, "draining", "This server is being stopped. Try again.", headers)


class Counted:
    """WSGI: counts a request as work from its arrival until its last byte is sent or its client is gone."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        work.begin()
        try:
            return _Answer(self._application(environ, start_response))
        except BaseException:
            work.end()
            raise


class _Answer:
    def __init__(self, answer: Iterable[bytes]) -> None:
        self._answer = answer
        self._closed = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        if not self._closed.acquire(blocking=False):
            return
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            work.end()
