"""The earlier messages of a conversation that are sent to a provider."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from bson import ObjectId

from chat.models import Message
from llm import canonical
from llm.token_estimate import without_images

#: The most messages of a session that a turn reads, whatever its plan allows.
HISTORY_LIMIT = 200

#: The most bytes of text that a turn reads of its session: more than the largest window in use holds. One
#: message of more is left out. A database's document, which the lookup returns, has at most 16 MB.
MAX_BYTES = 8_000_000
MAX_MESSAGE_BYTES = 4_000_000

_UNSENT = {Message.Status.FAILED, Message.Status.STREAMING}


class EarlierMessage(TypedDict):
    """What is sent of a message before the turn. A raw document, because a turn reads up to 200."""

    role: canonical.Role
    content: str
    status: str


class ConversationMessage(EarlierMessage):
    """What a new turn needs of a message of its session."""

    _id: ObjectId
    seq: int
    run: int
    provider: str
    model: str


def newest_within_bounds(limit: int, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return stages that pass on the newest `limit` messages, newest first, with bounded texts in all.

    A message that is too long, or older than the newest `MAX_BYTES`, has the content "".
    """
    text = {"$cond": [{"$eq": [{"$type": "$content"}, "string"]}, "$content", ""]}
    bytes_ = {"$strLenBytes": text}
    counted = {"$cond": [{"$lte": [bytes_, MAX_MESSAGE_BYTES]}, bytes_, 0]}
    fits = {"$and": [{"$lte": ["$bytes", MAX_BYTES]}, {"$lte": [bytes_, MAX_MESSAGE_BYTES]}]}
    return [
        {"$sort": {"seq": -1}},
        {"$limit": limit},
        {"$project": fields},
        {
            "$setWindowFields": {
                "sortBy": {"seq": -1},
                "output": {"bytes": {"$sum": counted, "window": {"documents": ["unbounded", "current"]}}},
            }
        },
        {"$set": {"content": {"$cond": [fits, text, ""]}}},
        {"$unset": "bytes"},
    ]


def history(messages: Iterable[EarlierMessage], *, limit: int) -> tuple[canonical.Message, ...]:
    """Return the newest `limit` messages that can be sent, oldest first.

    `messages` are ordered by `seq`. Failed, running and empty replies are left out.
    """
    sendable = [m for m in messages if m["content"] and m["status"] not in _UNSENT]
    # An image that a model made is far longer as text than what it can say to another model.
    kept = [
        canonical.Message(m["role"], without_images(m["content"])[0])
        for m in (sendable[-limit:] if limit else [])
    ]
    # A history that begins with an answer whose question was dropped confuses a model.
    begin = next((at for at, message in enumerate(kept) if message.role != "assistant"), len(kept))
    return tuple(kept[begin:])
