"""Delays before a process that ends by itself is started again."""

from __future__ import annotations

#: A process that ends younger than this counts as one that could not start. granian's own number.
START_SECONDS = 5.5

#: Waited before each restart of a process that could not start, after the first: 0.5, 1, 2, 4, 5, 5, …
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 5.0


def delay_seconds(failed_starts: int) -> float:
    """Return how long to wait before restarting a process that could not start so many times in a row."""
    if failed_starts < 2:
        return 0
    return min(FIRST_DELAY_SECONDS * 2.0 ** (failed_starts - 2), MAX_DELAY_SECONDS)
