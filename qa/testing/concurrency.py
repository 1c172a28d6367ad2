"""Calls in threads: race conditions provoked on purpose, and requests that take a while."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any, TypeVar

from django.db import connection

from qa.testing.waiting import PATIENCE_SECONDS

Result = TypeVar("Result")


def run_concurrently(*actions: Callable[[], Any]) -> list[Any]:
    """Run each action in its own thread, all released together; return what each returned or raised."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()  # Slower than most actions: without it the first runs alone.
            barrier.wait(timeout=30)
            return action()
        except Exception as error:  # the outcome under test
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def in_background(call: Callable[[], Result]) -> Callable[[], Result]:
    """Run `call` in a thread; return a function that waits for its result."""
    results: list[Result] = []
    thread = Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()

    def wait() -> Result:
        thread.join(PATIENCE_SECONDS)
        assert results, "the call did not return"
        return results[0]

    return wait
