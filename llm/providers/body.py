"""The body of an answer, read in gulps: every read returns all that has arrived.

`requests` hands out one HTTP chunk a call, and a provider sends a chunk a token.
A reader that rests between reads would fall behind, and one that does not wakes a
thread for every token. So the chunked framing is undone here, on whatever the
socket holds.
"""

from __future__ import annotations

import http.client
import re
import zlib
from collections.abc import Callable, Iterator

import requests

READ_BYTES = 65536
#: A chunk's size with its extensions, or the trailers: more than this is not HTTP.
_MAX_FRAMING_BYTES = 65536


class Truncated(Exception):
    """The connection ended before the body did."""


class Garbled(Exception):
    """The body does not follow its own framing or encoding."""


class Body:
    """Status, headers and body of an answer.

    `read` waits for bytes, decodes gzip and deflate, and returns b"" at the end,
    when the connection has gone back to its pool. `source` is the http.client
    response to read from; without one (an adapter that is not ours) the body comes
    through `requests`, a chunk a read.
    """

    def __init__(
        self,
        response: requests.Response,
        source: http.client.HTTPResponse | None,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.status: int = response.status_code
        self.headers = response.headers
        self.ended = False
        self.full = False
        self._response = response
        self._source = source
        self._on_end = on_end
        self._parts = self._undo_framing() if source else response.iter_content(None)
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in {"gzip", "x-gzip", "deflate"} and source:
            self._parts = self._decompressed(self._parts)
        elif encoding not in {"", "identity"} and source:
            raise Garbled(f"Content-Encoding {encoding[:40]!r} was not asked for")

    def read(self) -> bytes:
        try:
            for part in self._parts:
                if part:
                    return part
        except BaseException:
            self.drop()  # What comes after an error is no longer known.
            raise
        self._end()
        return b""

    def drop(self) -> None:
        """Close the connection instead of reading to the end; nothing after the end."""
        if self.ended:
            return
        self.ended = True
        self._on_end()
        if self._source is not None:
            self._source.close()
        self._response.close()

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        self._on_end()
        if self._source is not None:
            self._source.close()
            self._response.raw.release_conn()

    def _undo_framing(self) -> Iterator[bytes]:
        source = self._source
        if source.chunked:
            yield from self._chunks()
        elif source.length is None:
            while data := self._gulp():
                yield data
        else:
            left = source.length
            while left:
                data = self._gulp()
                if not data:
                    raise Truncated
                yield data[:left]
                left -= min(left, len(data))

    def _gulp(self) -> bytes:
        if self._source.isclosed():  # http.client closes an answer that it knows to be empty.
            return b""
        data = self._source.fp.read1(READ_BYTES)
        self.full = len(data) == READ_BYTES
        return data

    def _chunks(self) -> Iterator[bytes]:
        """Yield what the chunks of one gulp hold together; see RFC 9112, section 7.1."""
        raw = b""
        left = 0  # bytes still to come of the chunk at hand, its line end included
        while True:
            data = self._gulp()
            if not data:
                raise Truncated
            raw += data
            at, parts = 0, []
            while True:
                if left:
                    part = raw[at : at + left]
                    at += len(part)
                    left -= len(part)
                    if left < 2:  # The last two bytes are the chunk's CRLF, of which one may be here.
                        part = part[: len(part) - (2 - left)]
                    parts.append(part)
                    if left:
                        break
                line_end = raw.find(b"\n", at)
                if line_end < 0:
                    break
                try:
                    size = _chunk_size(raw[at:line_end])
                except Garbled:
                    yield b"".join(parts)
                    raise
                if size == 0:
                    yield b"".join(parts)
                    self._skip_trailers(raw[line_end + 1 :])
                    return
                at = line_end + 1
                left = size + 2
            raw = raw[at:]
            if len(raw) > _MAX_FRAMING_BYTES:
                raise Garbled("a chunk's size never ends")
            yield b"".join(parts)

    def _skip_trailers(self, raw: bytes) -> None:
        while not (raw.startswith((b"\r\n", b"\n")) or b"\r\n\r\n" in raw or b"\n\n" in raw):
            data = self._gulp()
            if not data or len(raw) > _MAX_FRAMING_BYTES:
                return
            raw += data

    def _decompressed(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        for part in parts:
            while part:
                try:
                    # Bounded, so that a small body cannot become a large one in memory.
                    yield inflate.decompress(part, READ_BYTES)
                except zlib.error as error:
                    raise Garbled("the compressed body is damaged") from error
                part = inflate.unconsumed_tail
        yield inflate.flush()
        if not inflate.eof:
            raise Truncated


#: int() alone would take a sign, underscores and spaces for digits.
_SIZE = re.compile(rb"\s*([0-9a-fA-F]{1,16})\s*(?:;.*)?", re.DOTALL)


def _chunk_size(line: bytes) -> int:
    match = _SIZE.fullmatch(line)
    if match is None:
        raise Garbled("a chunk's size is not a number")
    return int(match[1], 16)
