"""`BackgroundThread`: when it works, what it survives, and that there is one per process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import pytest
from django.db import DatabaseError
from pymongo.errors import AutoReconnect

from core.background import BackgroundThread

#: Generous: the machine may be busy.
PATIENCE_SECONDS = 30
NEVER = PATIENCE_SECONDS * 100.0


class Work:
    """Records its calls; each may raise the next of `errors`."""

    def __init__(self, *errors: Exception) -> None:
        self.calls: SimpleQueue[str] = SimpleQueue()
        self._errors = list(errors)

    def __call__(self) -> None:
        self.calls.put(threading.current_thread().name)
        if self._errors:
            raise self._errors.pop(0)

    def next(self) -> str:
        """Return the thread of the next call."""
        return self.calls.get(timeout=PATIENCE_SECONDS)


def background(
    work: Callable[[], None], *, interval: float | None = None, delay: float = 0.0
) -> BackgroundThread:
    return BackgroundThread("tested", work, interval=lambda: interval, delay_seconds=delay)


def test_it_works_when_woken_and_only_then():
    work = Work()
    thread = background(work)
    thread.start()
    with pytest.raises(Empty):
        work.calls.get(timeout=0.2)
    for _ in range(3):
        thread.wake()
        assert work.next() == "tested"


def test_it_works_at_its_interval_without_being_woken():
    work = Work()
    background(work, interval=0.01).start()
    for _ in range(3):
        work.next()


def test_a_wake_does_not_wait_for_the_interval():
    work = Work()
    background(work, interval=NEVER).wake()
    work.next()


def test_wakes_within_the_delay_share_one_call():
    work = Work()
    thread = background(work, interval=NEVER, delay=0.3)
    for _ in range(10):
        thread.wake()
    work.next()
    with pytest.raises(Empty):
        work.calls.get(timeout=0.6)


def test_a_wake_during_the_work_leads_to_another_call():
    calls: SimpleQueue[int] = SimpleQueue()
    count = 0

    def work() -> None:
        nonlocal count
        count += 1
        if count == 1:
            thread.wake()
        calls.put(count)

    thread = background(work, interval=NEVER)
    thread.wake()
    assert [calls.get(timeout=PATIENCE_SECONDS) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("error", "level"),
    [(AutoReconnect("away"), "WARNING"), (DatabaseError("away"), "WARNING"), (KeyError("a bug"), "ERROR")],
)
def test_an_error_is_logged_and_survived(error, level, caplog):
    work = Work(error)
    thread = background(work)
    thread.wake()
    work.next()
    thread.wake()
    work.next()
    [record] = [record for record in caplog.records if record.name == "core.background"]
    assert (record.levelname, record.exc_info[1]) == (level, error)


def test_a_stopped_thread_has_ended_and_starts_again_when_woken():
    work = Work()
    thread = background(work)
    thread.wake()
    work.next()

    thread.stop(PATIENCE_SECONDS)

    assert "tested" not in {running.name for running in threading.enumerate()}
    thread.wake()
    assert work.next() == "tested"


def test_of_many_starts_at_once_there_is_one_thread():
    started = threading.Barrier(16)
    thread = BackgroundThread("only one", Work(), interval=lambda: NEVER, delay_seconds=0)

    def start() -> None:
        started.wait()
        thread.wake()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: start(), range(16)))
    assert [one.name for one in threading.enumerate()].count("only one") == 1


@pytest.mark.parametrize("locked", [False, True], ids=["idle", "while its lock is held"])
def test_a_forked_child_has_a_thread_of_its_own(locked):
    """Forked while the parent's runs, and in the instant when it holds the lock."""
    work = Work()
    thread = background(work)
    thread.wake()
    work.next()
    reading, writing = os.pipe()

    if locked:
        thread._lock.acquire()
    child = os.fork()
    if child == 0:  # Nothing of pytest may run here: the child only reports and ends.
        signal.alarm(PATIENCE_SECONDS)  # Ends a child that hangs.
        try:
            thread.wake()
            os.write(writing, work.next().encode())
        finally:
            os._exit(0)
    if locked:
        thread._lock.release()

    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "tested"
    assert os.waitpid(child, 0)[1] == 0
    thread.wake()
    assert work.next() == "tested"
