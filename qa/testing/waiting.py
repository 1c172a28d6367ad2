"""Waiting for a condition in tests of processes and threads."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Generous, for a busy machine. A condition that holds is noticed within milliseconds.
PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition()` is true; fail with `what` after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(0.05)
