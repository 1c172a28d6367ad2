"""The JSON documents in a body, whether it comes as server-sent events or as one JSON text.

Some servers answer a request for a stream with plain JSON, others the reverse, and
the Content-Type is no help; the first character is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from llm.providers.body import Garbled
from llm.providers.sse import EventParser, EventTooLarge, ServerEvent

_WHITESPACE = b" \t\r\n\xef\xbb\xbf"
_DONE = "[DONE]"

#: json.loads() spends longer on its options than on a token's document.
_decoder = json.JSONDecoder()


class Document(NamedTuple):
    """One JSON value; `name` is that of its event, "" for most."""

    name: str
    value: Any


class Documents:
    """Fed with the bytes of a body, yields the documents they complete.

    `done` is True once `[DONE]` has come: what follows is ignored. Raises Garbled
    at what is not JSON, after the documents before it, and EventTooLarge.
    """

    def __init__(self, *, max_event_bytes: int, max_reply_bytes: int) -> None:
        self.done = False
        self.read_bytes = 0
        self._max_reply_bytes = max_reply_bytes
        self._events = EventParser(max_event_bytes)
        self._json: bytearray | None = None
        self._sniffed = False

    def feed(self, data: bytes) -> Iterator[Document]:
        self.read_bytes += len(data)
        if self.read_bytes > self._max_reply_bytes:
            raise EventTooLarge
        if not self._sniffed:
            self._sniff(data)
        if self._json is not None:
            self._json += data
        else:
            yield from self._documents(self._events.feed(data))

    def close(self) -> Iterator[Document]:
        """Yield what the end of the body completes."""
        if self._json is None:
            yield from self._documents(self._events.close())
            return
        value = parse(bytes(self._json).decode("utf-8-sig", errors="replace"))
        # Gemini's stream without alt=sse is one list of the objects it would have sent as events.
        for item in value if isinstance(value, list) else [value]:
            yield Document("", item)

    def _sniff(self, data: bytes) -> None:
        first = data.lstrip(_WHITESPACE)[:1]
        self._sniffed = bool(first)
        if first == b"<":
            raise Garbled("the body is HTML")
        if first in (b"{", b"["):
            self._json = bytearray()

    def _documents(self, events: Iterable[ServerEvent]) -> Iterator[Document]:
        for name, data in events:
            text = data.strip()
            if not text or self.done:
                continue
            if text == _DONE:
                self.done = True
            elif name == "error":
                yield Document("error", _lenient(text))
            else:
                yield Document(name, parse(text))


def parse(text: str) -> Any:
    """Return the value of the JSON `text`; NaN and Infinity are read as numbers. Raises Garbled."""
    text = text.strip()
    try:
        value, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"not JSON: {text[:200]!r}") from error
    if end < len(text):
        raise Garbled(f"more than JSON: {text[:200]!r}")
    return value


def _lenient(text: str) -> Any:
    try:
        return parse(text)
    except Garbled:
        return text
