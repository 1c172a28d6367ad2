"""Server-sent events from bytes that may be split anywhere.

https://html.spec.whatwg.org/multipage/server-sent-events.html, with one
difference: an event that the end of the stream cuts off before its blank line
counts (`close`), because some servers leave that line out.
"""

from __future__ import annotations

from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    name: str
    data: str


class EventTooLarge(Exception):
    """An event is larger than the cap."""


class EventParser:
    """Fed with bytes, returns the events they complete.

    Cuts at blank lines before decoding, so no character is ever split. Bytes that
    are not UTF-8 become U+FFFD.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._at_start = True
        self._after_cr = False

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that `data` completes. Raises EventTooLarge."""
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
            raise EventTooLarge
        return _events(complete)

    def close(self) -> list[ServerEvent]:
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


def _events(block: bytes) -> list[ServerEvent]:
    return [event for part in block.split(b"\n\n") if part and (event := _event(part)) is not None]


def _event(part: bytes) -> ServerEvent | None:
    """Return the event that the lines of `part` make; None if they hold no data."""
    if part.startswith(b"data:") and b"\n" not in part:  # as nearly all are
        return ServerEvent("", part[5:].removeprefix(b" ").decode(errors="replace"))
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
    return ServerEvent(name.decode(errors="replace"), b"\n".join(data).decode(errors="replace"))
