"""Reading request bodies on the event loop, within limits of time and memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Protocol

from core.server.environ import Headers


class BodyTooSlow(Exception):
    """No part of the body came in time."""


class BodyTooLarge(Exception):
    """The body is larger than the application accepts."""


class NoMemoryForBody(Exception):
    """Other unfinished bodies take all memory there is for them."""


class Chunks(Protocol):
    """A body as it arrives; the last chunk is empty."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class BodyReader:
    """Reads whole bodies of at most `max_bytes`.

    Raises BodyTooSlow when nothing comes for `stall_seconds` or the rest does not within `total_seconds`,
    NoMemoryForBody when the bodies that are being read take more than `max_memory` bytes, or those of one
    client address a quarter of it.
    """

    def __init__(
        self, *, max_bytes: int, max_memory: int, stall_seconds: float, total_seconds: float
    ) -> None:
        self._max_bytes = max_bytes
        self._max_memory = max_memory
        self._stall_seconds = stall_seconds
        self._total_seconds = total_seconds
        self._memory = 0
        self._memory_of: Counter[str] = Counter()

    async def read(self, headers: Headers, chunks: Chunks, address: str) -> bytes:
        announced = headers.get("content-length")
        if announced is None and "transfer-encoding" not in headers:
            return b""
        if announced is not None and int(announced) > self._max_bytes:
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        now = asyncio.get_running_loop().time
        end = now() + self._total_seconds
        try:
            async with asyncio.timeout(self._stall_seconds) as limit:
                async for chunk in chunks:
                    if not chunk:
                        break
                    parts.append(chunk)
                    size += len(chunk)
                    self._take(address, len(chunk))
                    if size > self._max_bytes:
                        raise BodyTooLarge
                    limit.reschedule(min(now() + self._stall_seconds, end))
        except TimeoutError:
            raise BodyTooSlow from None
        finally:
            self._take(address, -size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take(self, address: str, size: int) -> None:
        self._memory += size
        self._memory_of[address] += size
        if not self._memory_of[address]:
            del self._memory_of[address]
        elif size > 0 and (
            self._memory > self._max_memory or self._memory_of[address] > self._max_memory / 4
        ):
            raise NoMemoryForBody
