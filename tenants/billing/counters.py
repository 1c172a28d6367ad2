"""The counters behind the limits in the database's words: what must hold, and what then changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from pymongo import UpdateOne

from tenants.billing.limits import minute_of, money
from tenants.billing.plan import Plan

# Workers' clocks differ a little: one that is behind must not start the previous minute anew.
_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Share:
    """What one turn takes of its tenant's month."""

    reply_id: ObjectId
    month: str
    tokens: int
    cost: Decimal

    @property
    def path(self) -> str:
        return f"reservations.{self.reply_id}"

    @property
    def wanted(self) -> dict[str, Any]:
        return {"tokens_per_month": self.tokens, "cost_per_month": self.cost}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a finished turn really used. `cost` in US dollars; None when no price is known."""

    tenant_id: ObjectId
    reply_id: ObjectId
    tokens: int
    cost: Decimal | None
    messages: int = 1


def is_current(minute: datetime | None, now: datetime) -> bool:
    return minute is not None and minute_of(now) <= minute <= minute_of(now) + _CLOCK_SKEW


def _minute_is_current(now: datetime) -> dict[str, Any]:
    """`is_current` in the database's words."""
    first = minute_of(now)
    return {"$and": [{"$gte": ["$minute", first]}, {"$lte": ["$minute", first + _CLOCK_SKEW]}]}


def has_room(plan: Plan, month: str, wanted: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The condition under which the plan's limits have room for what is `wanted` of each."""

    def of_month(figure: str) -> list[Any]:
        return [_figure(month, figure), _figure(month, f"reserved_{figure}")]

    taken = {
        "requests_per_minute": [{"$cond": [_minute_is_current(now), "$minute_count", 0]}],
        "concurrent_turns": ["$live"],
        "messages_per_month": of_month("messages"),
        "tokens_per_month": of_month("tokens"),
        "cost_per_month": of_month("cost"),
    }
    limits = [(name, amount, getattr(plan, name)) for name, amount in wanted.items()]
    return {
        "$and": [
            {"$lte": [{"$add": [*taken[name], _stored(amount)]}, _stored(limit)]}
            for name, amount, limit in limits
            if limit is not None
        ]
    }


def _stored(amount: int | Decimal) -> int | Decimal128:
    return Decimal128(amount) if isinstance(amount, Decimal) else amount


def take(share: Share, until: datetime, now: datetime) -> list[dict[str, Any]]:
    """The update that takes a turn's `share` of every limit."""

    def add(figure: str, amount: Any) -> dict[str, Any]:
        return {"$add": [_figure(share.month, figure), amount]}

    cost = Decimal128(share.cost)
    return [
        {
            "$set": {
                "minute": {"$cond": [_minute_is_current(now), "$minute", minute_of(now)]},
                "minute_count": {"$cond": [_minute_is_current(now), {"$add": ["$minute_count", 1]}, 1]},
                "live": {"$add": ["$live", 1]},
                share.path: {
                    "until": until,
                    "month": share.month,
                    "tokens": share.tokens,
                    "cost": cost,
                },
                f"months.{share.month}": {
                    "messages": _figure(share.month, "messages"),
                    "tokens": _figure(share.month, "tokens"),
                    "cost": _figure(share.month, "cost", Decimal128("0")),
                    "reserved_messages": add("reserved_messages", 1),
                    "reserved_tokens": add("reserved_tokens", share.tokens),
                    "reserved_cost": add("reserved_cost", cost),
                },
                "updated_at": now,
            }
        }
    ]


def add(share: Share, now: datetime) -> dict[str, Any]:
    """The update that adds `share` to a reservation that is there."""
    cost = Decimal128(share.cost)
    return {
        "$inc": {
            f"{share.path}.tokens": share.tokens,
            f"{share.path}.cost": cost,
            f"months.{share.month}.reserved_tokens": share.tokens,
            f"months.{share.month}.reserved_cost": cost,
        },
        "$set": {"updated_at": now},
    }


def settling(settlement: Settlement, now: datetime) -> UpdateOne:
    """The update that turns a reservation, where it still is, into use of the month it was made in."""
    path = f"reservations.{settlement.reply_id}"

    def moved(figure: str, reserved: Any, used: Any) -> dict[str, Any]:
        return {
            figure: {"$add": [f"$$this.v.{figure}", used]},
            f"reserved_{figure}": {"$subtract": [f"$$this.v.reserved_{figure}", reserved]},
        }

    settled = {
        **moved("messages", 1, settlement.messages),
        **moved("tokens", f"${path}.tokens", settlement.tokens),
        **moved("cost", f"${path}.cost", Decimal128(money(settlement.cost))),
    }
    months = {
        "$map": {
            "input": {"$objectToArray": "$months"},
            "in": {
                "k": "$$this.k",
                "v": {"$cond": [{"$eq": ["$$this.k", f"${path}.month"]}, settled, "$$this.v"]},
            },
        }
    }
    return UpdateOne(
        {"_id": settlement.tenant_id, path: {"$exists": True}},
        [
            {
                "$set": {
                    "months": {"$arrayToObject": months},
                    "live": {"$subtract": ["$live", 1]},
                    "updated_at": now,
                }
            },
            {"$unset": path},
        ],
    )


def _figure(month: str, figure: str, missing: Any = 0) -> dict[str, Any]:
    return {"$ifNull": [f"$months.{month}.{figure}", missing]}
