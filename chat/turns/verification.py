"""Answers whose calls and cost are not those of the ledger, for `manage.py verify_ledger`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

from bson import ObjectId
from django.utils import timezone

from chat.models import FINAL, Message
from chat.turns.settlement import LEFT_BEHIND
from tenants.billing.limits import from_decimal128
from tenants.models import LedgerEntry

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A reply whose `attempts` or their `cost` in USD are not those that the ledger has of it."""

    tenant_id: ObjectId
    reply_id: ObjectId
    attempts: int
    cost: Decimal
    recorded: int
    recorded_cost: Decimal


#: Calls and cost of a reply. What cannot be read is no cost: settlement sets such a reply aside.
_ATTEMPTS = {"$cond": [{"$isArray": "$attempts"}, "$attempts", []]}
_COST = {"$convert": {"input": "$$attempt.cost", "to": "decimal", "onError": None, "onNull": None}}
_TOTALS = {
    "tenant_id": 1,
    "attempts": {"$size": _ATTEMPTS},
    "cost": {"$sum": {"$map": {"input": _ATTEMPTS, "as": "attempt", "in": {"$round": [_COST, 10]}}}},
}


def differences() -> Iterator[Difference]:
    """Yield the stored answers that the ledger does not have as they are, except those that end just now.

    Of runs that are not stored, the members set aside in the settlement are all that is known.
    """
    replies = Message.collection().aggregate(
        [
            {
                "$match": {
                    "role": Message.Role.ASSISTANT.value,
                    "status": {"$in": list(FINAL)},
                    "finished_at": {"$lt": timezone.now() - LEFT_BEHIND},
                }
            },
            {"$project": _TOTALS},
            {"$match": {"attempts": {"$gt": 0}}},
        ]
    )
    while batch := list(islice(replies, BATCH)):
        recorded = _recorded([row["_id"] for row in batch])
        for row in batch:
            count, cost = recorded.get(row["_id"], (0, Decimal(0)))
            expected = Decimal(from_decimal128(row["cost"]))
            if count != row["attempts"] or cost != expected:
                yield Difference(row["tenant_id"], row["_id"], row["attempts"], expected, count, cost)


def _recorded(reply_ids: list[ObjectId]) -> dict[Any, tuple[int, Decimal]]:
    """Return the number of entries and their cost, by reply."""
    rows = LedgerEntry.collection().aggregate(
        [
            {"$match": {"reply": {"$in": reply_ids}}},
            {"$group": {"_id": "$reply", "count": {"$sum": 1}, "cost": {"$sum": "$cost"}}},
        ]
    )
    return {row["_id"]: (row["count"], Decimal(from_decimal128(row["cost"]))) for row in rows}
