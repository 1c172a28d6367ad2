"""Reading request bodies on the event loop, within limits of time and memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from core.server.environ import Headers


class BodyTooLarge(Exception):
    """The body is larger than the application accepts: more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class BodyRefused(Exception):
    """The body is not read to its end. The attributes are those of the answer."""

    status = 400
    code = ""
    detail = ""


class BodyTooSlow(BodyRefused):
    """No part of the body came in time."""

    status = 408
    code = "body_too_slow"
    detail = "The rest of the body did not come in time."


class BodyIncomplete(BodyRefused):
    """The body broke off before its announced end, or its framing is malformed."""

    code = "body_incomplete"
    detail = "The body ended before its announced length or its last chunk, or trailers follow it."


class BodyInPieces(BodyRefused):
    """The body comes in very many very small pieces, each of which costs the event loop a step."""

    code = "body_in_pieces"
    detail = "The body comes in too many small pieces. Send larger chunks."


class NoMemoryForBody(BodyRefused):
    """Other unfinished bodies take all memory there is for them."""

    status = 503
    code = "server_busy"
    detail = "Too many large bodies are being sent or answered at once. Try again."


#: A body may come in so many pieces of any size, beside those that have on average at least so many bytes.
MAX_SMALL_PIECES = 1024
MIN_PIECE_BYTES = 256


#: A larger body counts until its request has ended: what it contains is held as long.
LARGE_BYTES = 1024 * 1024


class Chunks(Protocol):
    """A body as it arrives.

    granian yields an empty chunk at its end. It yields one more if the body has not ended there: the
    connection or the framing broke, or trailers followed (granian 2.8, `__anext__` in src/rsgi/io.rs).
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class BodyLimits:
    """How many bytes a body may have, by the end of its path."""

    def __init__(self, default: int, by_end: Mapping[str, int] | None = None) -> None:
        self._default = default
        self._by_end = by_end or {}

    def of(self, path: str) -> int:
        return next((limit for end, limit in self._by_end.items() if path.endswith(end)), self._default)


class BodyReader:
    """Reads whole bodies within `limits`.

    Raises BodyTooLarge, or a BodyRefused: BodyTooSlow when nothing comes for `stall_seconds` or the rest does
    not within `total_seconds`, BodyIncomplete when less comes than was announced, BodyInPieces when it comes
    in too many pieces, NoMemoryForBody when there is no room for it: the bodies that are being read and the
    large ones of running requests take at most `max_memory` bytes, those of one client address a quarter.
    """

    def __init__(
        self, *, limits: BodyLimits, max_memory: int, stall_seconds: float, total_seconds: float
    ) -> None:
        self._limits = limits
        self._max_memory = max_memory
        self._stall_seconds = stall_seconds
        self._total_seconds = total_seconds
        self._memory = 0
        self._memory_of: Counter[str] = Counter()

    async def read(self, headers: Headers, chunks: Chunks, address: str, path: str = "") -> bytes:
        """Return the body of a request; its caller calls `release` once the request has ended."""
        announced = headers.get("content-length")
        if announced is None and "transfer-encoding" not in headers:
            return b""
        max_bytes = self._limits.of(path)
        if announced is not None and int(announced) > max_bytes:
            raise BodyTooLarge(max_bytes)
        body = bytearray()
        pieces = 0
        ended = False
        now = asyncio.get_running_loop().time
        end = now() + self._total_seconds
        try:
            async with asyncio.timeout(self._stall_seconds) as limit:
                async for chunk in chunks:
                    if not chunk:
                        if ended:
                            raise BodyIncomplete
                        ended = True
                        continue
                    body += chunk
                    pieces += 1
                    self._take(address, len(chunk))
                    if len(body) > max_bytes:
                        raise BodyTooLarge(max_bytes)
                    if pieces > MAX_SMALL_PIECES + len(body) // MIN_PIECE_BYTES:
                        raise BodyInPieces
                    limit.reschedule(min(now() + self._stall_seconds, end))
        except TimeoutError:
            self._take(address, -len(body))
            raise BodyTooSlow from None
        except BaseException:
            self._take(address, -len(body))
            raise
        if len(body) <= LARGE_BYTES:
            self._take(address, -len(body))
        return bytes(body)

    def release(self, address: str, size: int) -> None:
        """Count a body of `size` bytes no longer."""
        if size > LARGE_BYTES:
            self._take(address, -size)

    def _take(self, address: str, size: int) -> None:
        self._memory += size
        self._memory_of[address] += size
        if not self._memory_of[address]:
            del self._memory_of[address]
        elif size > 0 and (
            self._memory > self._max_memory or self._memory_of[address] > self._max_memory / 4
        ):
            raise NoMemoryForBody
