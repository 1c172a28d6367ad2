"""Turn events as server-sent events.

Events: `start`, `delta`, `restart`, `usage`, `done`, `error`. Every event carries
the id `epoch:offset`, the offset in code points of the reply's text after the
event, so that a client that comes back with `Last-Event-ID` is given the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.http import StreamingHttpResponse
from rest_framework.utils.encoders import JSONEncoder

PING = b": ping\n\n"
PING_SECONDS = 15

_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EVENT_ID = re.compile(r"(\d{1,6}):(\d{1,9})")


class TurnEvent(NamedTuple):
    """One event of a turn; `epoch` and `offset` say where in the reply it stands.

    A None instead of an event stands for silence worth a ping.
    """

    name: str
    data: dict[str, Any]
    epoch: int
    offset: int


class Position(NamedTuple):
    """Where a client stopped reading: text number `epoch`, `offset` code points in."""

    epoch: int = 0
    offset: int = 0


def last_position(last_event_id: str | None) -> Position:
    """Return where `Last-Event-ID` points; the beginning without one or with a foreign one."""
    match = _EVENT_ID.fullmatch(last_event_id or "")
    return Position(int(match[1]), int(match[2])) if match else Position()


def encode(event: TurnEvent) -> bytes:
    return (
        f"event: {event.name}\nid: {event.epoch}:{event.offset}\ndata: {_encode(event.data)}\n\n"
    ).encode()


class EventStream(StreamingHttpResponse):
    """An event stream that no proxy holds back and that hands on the client's going away.

    Events that are None become pings. `first` was taken from `events` already.
    """

    def __init__(self, first: TurnEvent | None, events: Iterator[TurnEvent | None]) -> None:
        super().__init__(_Encoded(first, events), content_type="text/event-stream; charset=utf-8")
        self["Cache-Control"] = "no-store, no-transform"
        self["X-Accel-Buffering"] = "no"


class _Encoded:
    """Encoded events. `close()` reaches the source, also when the client left before the first."""

    def __init__(self, first: TurnEvent | None, events: Iterator[TurnEvent | None]) -> None:
        self._events = events
        self._encoded = map(_encode_or_ping, itertools.chain([first], events))

    def __iter__(self) -> Iterator[bytes]:
        return self._encoded

    def close(self) -> None:
        self._events.close()


def _encode_or_ping(event: TurnEvent | None) -> bytes:
    return PING if event is None else encode(event)
