"""Waiting for a condition in tests of processes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Generous, for a busy machine. A condition that holds is noticed within milliseconds.
PATIENCE_SECONDS = 60


Found = TypeVar("Found")


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition()` is true; fail with `what` after PATIENCE_SECONDS."""
    wait_for(condition, what)


def wait_for(find: Callable[[], Found | None], what: str = "it was not found") -> Found:
    """Return what `find()` returns once that is true; fail with `what` after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(0.05)
    return found
