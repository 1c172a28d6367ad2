"""The events of a turn, and their form as server-sent events.

Events: `start`, `delta`, `restart`, `usage`, `done`, `error`. Every event has the id `epoch:offset`, where
`offset` is the length of the reply's text after the event in code points; that of the last event ends with
`:end`. A client that reconnects with `Last-Event-ID` gets the rest.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Protocol

from chat.turns.reply import Reply
from llm.canonical import Target

PING = b": ping\n\n"
PING_SECONDS = 15

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EVENT_ID = re.compile(r"(\d{1,6}):(\d{1,9})(:end)?")


class TurnEvent(NamedTuple):
    """One event of a turn; `epoch` and `offset` are its position in the reply, `is_end` that of its last."""

    name: str
    data: dict[str, Any]
    epoch: int
    offset: int
    is_end: bool = False


class EventSource(Protocol):
    """The events of a reply, None where a ping is due, and at last the final reply."""

    def __next__(self) -> TurnEvent | Reply | None: ...

    def close(self) -> None: ...


class Position(NamedTuple):
    """Where a client stopped reading: text number `epoch`, after `offset` code points, or after the end."""

    epoch: int = 0
    offset: int = 0
    is_end: bool = False

    def is_end_of(self, reply: Reply) -> bool:
        """Whether nothing follows: the reply has ended, and no other text has been begun since."""
        return self.is_end and not reply.is_running and self.epoch == reply.epoch


BEGINNING = Position()


def start_event(reply: Reply, target: Target, epoch: int) -> TurnEvent:
    data = {
        "session_id": str(reply.session_id),
        "message_id": str(reply.in_reply_to_id),
        "reply_id": str(reply.id),
        "provider": target.provider,
        "model": target.model,
    }
    return TurnEvent("start", data, epoch, 0)


def restart_event(reason: str, target: Target, epoch: int) -> TurnEvent:
    """Return the event that voids all text before it."""
    data = {"reason": reason, "provider": target.provider, "model": target.model}
    return TurnEvent("restart", data, epoch, 0)


def last_position(last_event_id: str | None) -> Position:
    """Return the position in `Last-Event-ID`; the beginning without one or with a foreign one."""
    match = _EVENT_ID.fullmatch(last_event_id or "")
    return Position(int(match[1]), int(match[2]), match[3] is not None) if match else BEGINNING


def encode(event: TurnEvent) -> bytes:
    end = ":end" if event.is_end else ""
    return (
        f"event: {event.name}\nid: {event.epoch}:{event.offset}{end}\ndata: {_encode(event.data)}\n\n"
    ).encode()
