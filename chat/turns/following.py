"""Reading a turn that somebody else drives, on any worker: from the stored reply alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bson import ObjectId
from django.db import DatabaseError
from pymongo.errors import PyMongoError

from chat.models import Message
from chat.turns import settlement
from chat.turns.outcome import final_events, start_data
from chat.turns.sse import PING_SECONDS, Position, TurnEvent

Status = Message.Status

#: How often a running reply is looked at. Its text grows by a checkpoint a second.
POLL_SECONDS = 0.2

BEGINNING = Position()


def follow(
    reply: dict, position: Position = BEGINNING, over: Callable[[], bool] = lambda: False
) -> Iterator[TurnEvent | None]:
    """Yield the events of `reply` after `position` until its final state; None is worth a ping.

    The texts of the deltas, joined to what the client had, are the reply's
    content. A client that holds a text which has been restarted since gets
    `restart` and the present text from its beginning. A reply whose worker died
    ends in `error`. Once `over()` is true, nothing follows.
    """
    epoch, offset = position
    if epoch == 0:
        yield TurnEvent("start", start_data(reply, reply["provider"], reply["model"]), reply["epoch"], 0)
        epoch = reply["epoch"]
    spoke_at = time.monotonic()
    while not over():
        # While it runs, the stored text may be a checkpoint behind what its first reader has got.
        ahead = reply["epoch"] < epoch or offset > len(reply["content"])
        if reply["epoch"] > epoch or (ahead and reply["status"] != Status.STREAMING):
            epoch, offset = reply["epoch"], 0
            yield _restart(reply)
        if text := reply["content"][offset:] if reply["epoch"] == epoch else "":
            offset += len(text)
            spoke_at = time.monotonic()
            yield TurnEvent("delta", {"text": text}, epoch, offset)
        if reply["status"] != Status.STREAMING:
            yield from final_events(reply)
            return
        if time.monotonic() - spoke_at > PING_SECONDS:
            spoke_at = time.monotonic()
            yield None
        time.sleep(POLL_SECONDS)
        reply = _present(reply)


def wait_for_end(reply: dict, seconds: float) -> dict:
    """Return the reply in its final state, or as it is after so many seconds."""
    deadline = time.monotonic() + seconds
    while reply["status"] == Status.STREAMING and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 2)
        reply = _present(reply)
    return reply


def request_cancel(reply_id: ObjectId) -> dict | None:
    """Ask whoever drives the reply to stop; return it as it is, None when it is gone."""
    Message.collection().update_one(
        {"_id": reply_id, "status": Status.STREAMING.value}, {"$set": {"cancel_requested": True}}
    )
    return Message.collection().find_one({"_id": reply_id})


def _present(reply: dict) -> dict:
    """Return the reply as it is now; if its worker is dead, ended by us."""
    try:
        with settlement.noticing_outages():
            now = Message.collection().find_one({"_id": reply["_id"]})
        if now is None:
            return {**reply, "status": Status.INTERRUPTED.value, "error": _DELETED}
        if now["status"] == Status.STREAMING and (ended := settlement.end_if_dead(now)):
            settlement.settle_soon(ended)
            return ended
        return now
    except (PyMongoError, DatabaseError):
        return reply  # the database is away for a moment: look again


def _restart(reply: dict) -> TurnEvent:
    data = {"reason": "restarted", "provider": reply["provider"], "model": reply["model"]}
    return TurnEvent("restart", data, reply["epoch"], 0)


_DELETED = {"kind": "deleted", "detail": "The conversation was deleted."}
