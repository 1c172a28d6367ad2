"""How long a reader pauses between reads, so that one read returns several tokens."""

from __future__ import annotations

import threading

_FEW_STREAMS = 8


class OpenStreams:
    """Counts the streams being read in this process and derives the coalescing delay from it.

    Waking a thread costs more than reading a token. So a reader emits the first token at
    once and then pauses between reads, longer the more streams are open, to read many tokens
    together: a few streams stay smooth, a thousand stay affordable. With a handful of streams
    a pause would cost a wake-up of its own and coalesce nothing.
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

    @property
    def coalescing_delay_seconds(self) -> float:
        return min(0.25, 0.001 * self.count) if self.count > _FEW_STREAMS else 0.0


open_streams = OpenStreams()
