"""Answers of which the ledger does not have every call, for `manage.py verify_ledger`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bson import ObjectId
from django.utils import timezone

from chat.models import FINAL, Message
from chat.turns.settlement import LEFT_BEHIND
from tenants.models import LedgerEntry

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """A reply with more `attempts` than the ledger has of it."""

    tenant_id: ObjectId
    reply_id: ObjectId
    attempts: int
    recorded: int


def unrecorded() -> Iterator[Unrecorded]:
    """Yield the stored answers with calls that are missing in the ledger, except those that end just now.

    Of runs that are not stored, the members set aside in the settlement are all that is known.
    """
    attempts = {"$cond": [{"$isArray": "$attempts"}, {"$size": "$attempts"}, 0]}
    replies = Message.collection().aggregate(
        [
            {
                "$match": {
                    "role": Message.Role.ASSISTANT.value,
                    "status": {"$in": list(FINAL)},
                    "finished_at": {"$lt": timezone.now() - LEFT_BEHIND},
                }
            },
            {"$project": {"tenant_id": 1, "attempts": attempts}},
            {"$match": {"attempts": {"$gt": 0}}},
        ]
    )
    while batch := list(islice(replies, BATCH)):
        recorded = _recorded([row["_id"] for row in batch])
        for row in batch:
            if recorded.get(row["_id"], 0) < row["attempts"]:
                yield Unrecorded(row["tenant_id"], row["_id"], row["attempts"], recorded.get(row["_id"], 0))


def _recorded(reply_ids: list[ObjectId]) -> dict[Any, int]:
    rows = LedgerEntry.collection().aggregate(
        [{"$match": {"reply": {"$in": reply_ids}}}, {"$group": {"_id": "$reply", "count": {"$sum": 1}}}]
    )
    return {row["_id"]: row["count"] for row in rows}
