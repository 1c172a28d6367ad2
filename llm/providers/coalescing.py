"""How long a reader pauses between reads, so that one read returns several tokens."""

from __future__ import annotations

import threading

_FEW_STREAMS = 8
_MAX_SECONDS = 0.25
_SECONDS_PER_STREAM = 0.001
#: Of the time since the first token.
_MAX_SHARE = 0.25


class OpenStreams:
    """Counts the streams being read in this process and derives the coalescing delay from it.

    Waking a thread costs more than reading a token. So a reader emits the first token at
    once and then pauses between reads, longer the more streams are open, to read many tokens
    together: a few streams stay smooth, a thousand stay affordable. With a handful of streams
    a pause would cost a wake-up of its own and coalesce nothing.

    A pause is at most a quarter of the time since the answer's first token: a short answer is not delayed
    by the long ones of others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1

    def coalescing_delay_seconds(self, age_seconds: float) -> float:
        """Return the pause before the next read of an answer whose first token came `age_seconds` ago."""
        if self.count <= _FEW_STREAMS:
            return 0.0
        return min(_MAX_SECONDS, _SECONDS_PER_STREAM * self.count, _MAX_SHARE * max(age_seconds, 0.0))


open_streams = OpenStreams()
