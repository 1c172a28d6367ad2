"""Waiting for a condition in tests of processes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Generous, for a busy machine. A condition that holds is noticed within milliseconds.
PATIENCE_SECONDS = 60


Found = TypeVar("Found")


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once `condition()` is true; fail with `what` after `seconds`."""
    wait_for(condition, what, seconds)


def wait_for(
    find: Callable[[], Found | None], what: str = "it was not found", seconds: float = PATIENCE_SECONDS
) -> Found:
    """Return what `find()` returns once that is true; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return found
