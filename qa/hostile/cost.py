"""The processor time of one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

#: A text of 64 KiB is more than any request line or header may have.
LENGTH = 64 * 1024
#: Linear scans of it take a few milliseconds, quadratic ones seconds.
MAX_SECONDS = 0.05
#: A scan of a short text takes less, whatever else the processor does in between.
_MIN_LIMIT = 0.006

#: A cost that grows faster is seen at the first lengths, before it takes for ever.
LENGTHS = (20, 28, 256, 2048, 8192, LENGTH)
#: For a quarter of the time: a cost that is quadratic shows at a quarter of the length as well.
SHORT_LENGTHS = (20, 28, 256, 2048, LENGTH // 4)

_ATTEMPTS = 3


def cpu_seconds(action: Callable[[], object], limit: float = MAX_SECONDS) -> float:
    """Return the processor time of this thread for `action`, of several runs the least.

    It is run again only if it took longer than `limit`: the garbage collector may have run in between.
    """
    least = float("inf")
    for _ in range(_ATTEMPTS):
        began = time.thread_time()
        action()
        least = min(least, time.thread_time() - began)
        if least <= limit:
            break
    return least


def slowest(
    read: Callable[[str], object],
    texts: Callable[[int], Iterable[str]],
    max_seconds: float = MAX_SECONDS,
    lengths: Iterable[int] = LENGTHS,
) -> str | None:
    """Return a description of the first of `texts` that takes `read` too long; None if none does.

    `texts` returns those of a length; a text of `LENGTH` characters may take `max_seconds`.
    """
    for length in lengths:
        limit = max(_MIN_LIMIT, max_seconds * length / LENGTH)
        for text in texts(length):
            seconds = cpu_seconds(lambda text=text: read(text), limit)  # type: ignore[misc]
            if seconds > limit:
                return f"{text[:40]!r}… of {len(text)} characters takes {seconds * 1000:.0f} ms"
    return None
