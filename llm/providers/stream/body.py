"""The body of a response: each read returns everything that has arrived.

`requests` returns one HTTP chunk a call, and providers send one chunk a token. A reader
that pauses between reads would fall behind, and one that does not pause wakes a thread for
every token. So the chunked framing is undone here, on whatever the socket holds.
"""

from __future__ import annotations

import functools
import http.client
import re
import zlib
from collections.abc import Callable, Iterator, Mapping

import requests

READ_BYTES = 65536
#: A chunk's size line, or the trailers: more than this is not HTTP.
_MAX_FRAMING_BYTES = 8192


class StreamError(Exception):
    """A response that cannot be read to its end."""


class Truncated(StreamError):
    """The connection ended before the body did."""


class ProtocolError(StreamError):
    """The body violates its framing, its encoding or its format."""


class Idle(Exception):
    """Nothing has come for a while; reading may go on."""


class ResponseBody:
    """Status, headers and body of a response.

    `raw` is the http.client response to read from; without one (an adapter that is not
    ours) the body comes through `requests`, one chunk a read. `on_end` is called once, when
    the connection is no longer used.
    """

    def __init__(
        self,
        response: requests.Response,
        raw: http.client.HTTPResponse | None,
        *,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.ended = False
        #: The last read filled its buffer, so that more has probably arrived.
        self.last_read_was_full = False
        #: The last read returned b"" because nothing has come for a while.
        self.is_idle = False
        self._response = response
        self._raw = raw
        self._on_end = on_end
        self._parts: Iterator[bytes] = self._decoded(raw) if raw else response.iter_content(None)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def read(self) -> bytes:
        """Wait for bytes and return them decoded; b"" at the end, with the connection back in its pool.

        Also b"" if it `is_idle`: the next read goes on.
        """
        try:
            for part in self._parts:
                if part or self.is_idle:
                    return part
        except BaseException:
            self.close()  # After an error the position in the body is unknown.
            raise
        self._end()
        return b""

    def read_into(self, content: bytearray, max_bytes: int) -> None:
        """Append what is left of the body to `content`, until that has `max_bytes` or more."""
        while len(content) < max_bytes and (data := self.read()):
            content += data

    def close(self) -> None:
        """Close the connection instead of reading to the end. Does nothing after the end."""
        if self._end_once():
            self._response.close()

    def _end(self) -> None:
        if self._end_once() and self._raw is not None:
            self._response.raw.release_conn()

    def _end_once(self) -> bool:
        if self.ended:
            return False
        self.ended = True
        self._on_end()
        if self._raw is not None:
            self._raw.close()
        return True

    def _decoded(self, raw: http.client.HTTPResponse) -> Iterator[bytes]:
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            return self._unframed(raw)
        if encoding in {"gzip", "x-gzip", "deflate"}:
            return _decompressed(self._unframed(raw))
        raise ProtocolError(f"Content-Encoding {encoding[:40]!r} was not requested")

    def _unframed(self, raw: http.client.HTTPResponse) -> Iterator[bytes]:
        read = functools.partial(self._read_available, raw)
        if raw.chunked:
            return _chunks(read)
        return _all_bytes(read) if raw.length is None else _first_bytes(read, raw.length)

    def _read_available(self, raw: http.client.HTTPResponse) -> bytes | None:
        """Return the bytes that have arrived, b"" at the end, None after a while without any."""
        self.is_idle = False
        if raw.isclosed():  # http.client closes a response that it knows to be empty.
            return b""
        try:
            data = raw.fp.read1(READ_BYTES)
        except Idle:
            self.is_idle = True
            return None
        self.last_read_was_full = len(data) == READ_BYTES
        return data


#: Returns what has arrived, b"" at the end, None if nothing has come for a while.
_Read = Callable[[], bytes | None]


def _all_bytes(read: _Read) -> Iterator[bytes]:
    while (data := read()) != b"":
        yield data or b""


def _first_bytes(read: _Read, length: int) -> Iterator[bytes]:
    while length:
        data = read()
        if data is None:
            yield b""
            continue
        if not data:
            raise Truncated
        yield data[:length]
        length -= min(length, len(data))


def _chunks(read: _Read) -> Iterator[bytes]:
    """Yield the content of all chunks that one read returned, joined; see RFC 9112, section 7.1."""
    buffer = b""
    left = 0  # bytes still to come of the current chunk, its CRLF included
    while True:
        data = read()
        if data is None:
            yield b""
            continue
        if not data:
            raise Truncated
        buffer += data
        at, parts = 0, []
        while True:
            if left:
                part = buffer[at : at + left]
                at += len(part)
                left -= len(part)
                if left < 2:  # The last two bytes are the chunk's CRLF, of which one may be here.
                    part = part[: len(part) - (2 - left)]
                parts.append(part)
                if left:
                    break
            line_end = buffer.find(b"\n", at)
            if line_end < 0:
                break
            try:
                size = _chunk_size(buffer[at:line_end])
            except ProtocolError:
                yield b"".join(parts)
                raise
            if size == 0:
                yield b"".join(parts)
                _skip_trailers(buffer[line_end + 1 :], read)
                return
            at = line_end + 1
            left = size + 2
        buffer = buffer[at:]
        if len(buffer) > _MAX_FRAMING_BYTES:
            raise ProtocolError("a chunk's size never ends")
        yield b"".join(parts)


def _skip_trailers(buffer: bytes, read: _Read) -> None:
    while not (buffer.startswith((b"\r\n", b"\n")) or b"\r\n\r\n" in buffer or b"\n\n" in buffer):
        data = read()
        if not data or len(buffer) > _MAX_FRAMING_BYTES:
            return
        buffer += data


#: int() alone would accept a sign, underscores and spaces.
_SIZE = re.compile(rb"\s*([0-9a-fA-F]{1,16})\s*(?:;.*)?", re.DOTALL)


def _chunk_size(line: bytes) -> int:
    match = _SIZE.fullmatch(line)
    if match is None:
        raise ProtocolError("a chunk's size is not a number")
    return int(match[1], 16)


def _decompressed(parts: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, whichever the header says
    for part in parts:
        if not part:
            yield part
        while part:
            try:
                # Bounded, so that a small body cannot become a large one in memory.
                yield inflate.decompress(part, READ_BYTES)
            except zlib.error as error:
                raise ProtocolError("the compressed body is damaged") from error
            part = inflate.unconsumed_tail
    yield inflate.flush()
    if not inflate.eof:
        raise Truncated
