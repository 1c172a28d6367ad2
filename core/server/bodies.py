"""Reading request bodies on the event loop, within limits of time and memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Protocol

from core.server.environ import Headers


class BodyTooLarge(Exception):
    """The body is larger than the application accepts."""


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
    detail = "Too many large bodies are being sent at once. Try again."


#: A body may come in so many pieces of any size, beside those that have on average at least so many bytes.
MAX_SMALL_PIECES = 1024
MIN_PIECE_BYTES = 256


class Chunks(Protocol):
    """A body as it arrives.

    granian yields an empty chunk at its end. It yields one more if the body has not ended there: the
    connection or the framing broke, or trailers followed (granian 2.8, `__anext__` in src/rsgi/io.rs).
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class BodyReader:
    """Reads whole bodies of at most `max_bytes`.

    Raises BodyTooLarge, or a BodyRefused: BodyTooSlow when nothing comes for `stall_seconds` or the rest does
    not within `total_seconds`, BodyIncomplete when less comes than was announced, BodyInPieces when it comes
    in too many pieces, NoMemoryForBody when the bodies that are being read take more than `max_memory` bytes,
    or those of one client address a quarter of it.
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
                    if len(body) > self._max_bytes:
                        raise BodyTooLarge
                    if pieces > MAX_SMALL_PIECES + len(body) // MIN_PIECE_BYTES:
                        raise BodyInPieces
                    limit.reschedule(min(now() + self._stall_seconds, end))
        except TimeoutError:
            raise BodyTooSlow from None
        finally:
            self._take(address, -len(body))
        return bytes(body)

    def _take(self, address: str, size: int) -> None:
        self._memory += size
        self._memory_of[address] += size
        if not self._memory_of[address]:
            del self._memory_of[address]
        elif size > 0 and (
            self._memory > self._max_memory or self._memory_of[address] > self._max_memory / 4
        ):
            raise NoMemoryForBody
