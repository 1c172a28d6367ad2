"""Server-sent events from bytes that may be split anywhere.

https://html.spec.whatwg.org/multipage/server-sent-events.html, with one difference: an
event that the end of the stream cuts off before its blank line counts (`close`), because
some servers omit that line.
"""

from __future__ import annotations

from typing import NamedTuple

from llm.providers.stream.body import StreamError

_BOM = b"\xef\xbb\xbf"


class SizeLimitExceeded(StreamError):
    """An event or the whole response is larger than its limit."""


class ServerSentEvent(NamedTuple):
    name: str
    data: str


class EventParser:
    """Takes bytes and returns the events that they complete.

    Splits at blank lines before decoding, so that no character is split. Bytes that are
    not UTF-8 become U+FFFD.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._at_start = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that `data` completes. Raises SizeLimitExceeded."""
        buffer = self._buffer
        searched = max(0, len(buffer) - 1)
        buffer += self._with_line_feeds(data)
        if self._at_start:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                return []
            self._at_start = False
            if buffer.startswith(_BOM):
                del buffer[: len(_BOM)]
        end = buffer.rfind(b"\n\n", searched)
        complete = b""
        if end >= 0:
            complete = bytes(buffer[:end])
            del buffer[: end + 2]
        if len(buffer) > self._max_event_bytes:
            raise SizeLimitExceeded
        return _events(complete)

    def close(self) -> list[ServerSentEvent]:
        """Return the last event, if the stream ended without its blank line."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return _events(rest)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


def _events(block: bytes) -> list[ServerSentEvent]:
    return [event for part in block.split(b"\n\n") if part and (event := _event(part)) is not None]


def _event(part: bytes) -> ServerSentEvent | None:
    """Return the event in the lines of `part`; None if they have no data."""
    if part.startswith(b"data:") and b"\n" not in part:  # nearly every event
        return ServerSentEvent("", part[5:].removeprefix(b" ").decode(errors="replace"))
    name, data = b"", []
    for line in part.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    if not data:
        return None
    return ServerSentEvent(name.decode(errors="replace"), b"\n".join(data).decode(errors="replace"))
