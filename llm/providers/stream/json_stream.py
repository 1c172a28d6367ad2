"""The JSON documents of a response, sent as server-sent events or as one JSON text.

Some servers answer a request for a stream with plain JSON, others the reverse. The
Content-Type does not say which reliably; the first character does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from llm.providers.stream.body import ProtocolError
from llm.providers.stream.sse import EventParser, ServerSentEvent, SizeLimitExceeded

_WHITESPACE = b" \t\r\n\xef\xbb\xbf"
_DONE = {"[DONE]", '"[DONE]"', "[done]"}


def _integer(text: str) -> int | float:
    """Return the integer; infinity beyond Python's 4,300 digits: one absurd number spoils no answer."""
    try:
        return int(text)
    except ValueError:
        return math.inf


#: json.loads() spends longer on its options than on one token's document.
_decoder = json.JSONDecoder(parse_int=_integer)


class Document(NamedTuple):
    """One JSON value; `name` is that of its event, "" for most."""

    name: str
    value: Any


class Readable(Protocol):
    is_idle: bool

    def read(self) -> bytes: ...


class JSONStream:
    """Reads from `body` and yields the documents that each read completes.

    `done` is True after `[DONE]`, which ends the documents, or the end of the body. `is_complete` is True if
    the end was announced: by `[DONE]`, or because the body was one JSON text.
    """

    def __init__(self, body: Readable, *, max_event_bytes: int, max_reply_bytes: int) -> None:
        self.done = self.is_complete = False
        self._body = body
        self._bytes_left = max_reply_bytes
        self._events = EventParser(max_event_bytes)
        #: The body so far, if it is one JSON text; None for events.
        self._text: bytearray | None = None
        self._format_is_known = False

    def read(self) -> Iterable[Document]:
        """Wait for one read of the body; return its documents, decoded while iterating.

        Raises what the body raises, SizeLimitExceeded, or ProtocolError at a document that
        is not JSON, after those before it.
        """
        data = self._body.read()
        if not data and self._body.is_idle:
            return ()
        if not data:
            self.done = True
            if self._text is None:
                return self._documents(self._events.close())
            self.is_complete = True
            return _parsed(self._text)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise SizeLimitExceeded
        if not self._format_is_known:
            self._detect_format(data)
        if self._text is None:
            return self._documents(self._events.feed(data))
        self._text += data
        return ()

    def _detect_format(self, data: bytes) -> None:
        first = data.lstrip(_WHITESPACE)[:1]
        self._format_is_known = bool(first)
        if first == b"<":
            raise ProtocolError("the body is HTML")
        if first in (b"{", b"["):
            self._text = bytearray()

    def _documents(self, events: Iterable[ServerSentEvent]) -> Iterator[Document]:
        for name, data in events:
            text = data.strip()
            if not text:
                continue
            if text in _DONE:
                self.done = self.is_complete = True
                return
            yield Document(name, _parsed_or_text(text) if name == "error" else parse_json(text))


def _parsed(text: bytearray) -> Iterator[Document]:
    """Yield the documents of a JSON text: the items of a list, else the value.

    Without `alt=sse` Gemini sends one list of the objects that it otherwise sends as events
    (observed 2026-11).
    """
    value = parse_json(text.decode("utf-8-sig", errors="replace"))
    for item in value if isinstance(value, list) else [value]:
        yield Document("", item)


def parse_json(text: str) -> Any:
    """Return the value of the JSON `text`. Raises ProtocolError.

    NaN, Infinity and integers beyond 4,300 digits are read as floats.
    """
    text = text.strip()
    try:
        value, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {text[:200]!r}") from error
    if end < len(text):
        raise ProtocolError(f"more than JSON: {text[:200]!r}")
    return value


def _parsed_or_text(text: str) -> Any:
    try:
        return parse_json(text)
    except ProtocolError:
        return text
