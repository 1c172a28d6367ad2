"""The conditions and updates of a tenant's usage document, in MongoDB's query language.

The document's shape is in `tenants.billing.usage.Usage`. Each update is atomic: it checks its condition and
changes all counters in one round trip.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from pymongo import UpdateOne

from tenants.billing.limits import day_of, minute_of, usd
from tenants.billing.plan import Plan

#: The counters of a month, each also as `reserved_…`.
COUNTERS = ("messages", "tokens", "cost")

# Workers' clocks differ a little: one that is behind must not restart the previous minute.
_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one turn reserves of its tenant's month. `cost` in US dollars."""

    reservation_id: ObjectId
    month: str
    tokens: int
    cost: Decimal

    @property
    def path(self) -> str:
        return reservation_path(self.reservation_id)

    @property
    def amounts(self) -> dict[str, int | Decimal]:
        """The amounts by the limit they count against."""
        return {"tokens_per_month": self.tokens, "cost_per_month": self.cost}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a finished turn used. `cost` in US dollars; None when no price is known."""

    tenant_id: ObjectId
    reservation_id: ObjectId
    tokens: int
    cost: Decimal | None
    messages: int = 1
    kept_bytes: int = 0


def reservation_path(reservation_id: ObjectId) -> str:
    return f"reservations.{reservation_id}"


def is_current(minute: datetime | None, now: datetime) -> bool:
    """Whether a stored minute is the present one."""
    return minute is not None and minute_of(now) <= minute <= minute_of(now) + _CLOCK_SKEW


def _minute_is_current(now: datetime) -> dict[str, Any]:
    """`is_current` as a condition."""
    first = minute_of(now)
    return {"$and": [{"$gte": ["$minute", first]}, {"$lte": ["$minute", first + _CLOCK_SKEW]}]}


def has_room(plan: Plan, month: str, amounts: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The condition under which the plan's limits have room for `amounts`: `{limit: amount}`."""

    def of_month(counter: str) -> list[Any]:
        return [_counter(month, counter), _counter(month, f"reserved_{counter}")]

    used: dict[str, list[Any]] = {
        "requests_per_minute": [{"$cond": [_minute_is_current(now), "$minute_count", 0]}],
        "concurrent_turns": [{"$subtract": ["$live", {"$ifNull": ["$ended", 0]}]}],
        "messages_per_month": of_month("messages"),
        "tokens_per_month": of_month("tokens"),
        "cost_per_month": of_month("cost"),
        "sessions_per_day": [_sessions_of_day(now)],
        "kept_bytes": [{"$ifNull": ["$kept_bytes", 0]}],
    }
    limits = [(name, amount, getattr(plan, name)) for name, amount in amounts.items()]
    return {
        "$and": [
            {"$lte": [{"$add": [*used[name], _to_stored(amount)]}, _to_stored(limit)]}
            for name, amount, limit in limits
            if limit is not None
        ]
    }


def _sessions_of_day(now: datetime) -> dict[str, Any]:
    return {"$cond": [{"$eq": ["$day", day_of(now)]}, {"$ifNull": ["$day_sessions", 0]}, 0]}


def keep_update(sessions: int, kept_bytes: int, now: datetime) -> dict[str, Any]:
    """The fields that count opened sessions and kept bytes."""
    fields: dict[str, Any] = {"kept_bytes": {"$add": [{"$ifNull": ["$kept_bytes", 0]}, kept_bytes]}}
    if sessions:
        fields |= {"day": day_of(now), "day_sessions": {"$add": [_sessions_of_day(now), sessions]}}
    return fields


def subtract_kept_update(kept_bytes: int) -> list[dict[str, Any]]:
    """The update that subtracts deleted bytes, never below zero."""
    left = {"$subtract": [{"$ifNull": ["$kept_bytes", 0]}, kept_bytes]}
    return [{"$set": {"kept_bytes": {"$max": [0, left]}}}]


def _to_stored(amount: int | Decimal) -> int | Decimal128:
    return Decimal128(amount) if isinstance(amount, Decimal) else amount


def reserve_update(
    reservation: Reservation, until: datetime, now: datetime, *, sessions: int = 0, kept_bytes: int = 0
) -> list[dict[str, Any]]:
    """The update that counts a new turn against every limit. `until` is the end of its lease.

    `sessions` and `kept_bytes` are what the turn stores.
    """

    def add(counter: str, amount: Any) -> dict[str, Any]:
        return {"$add": [_counter(reservation.month, counter), amount]}

    cost = Decimal128(reservation.cost)
    return [
        {
            "$set": {
                "minute": {"$cond": [_minute_is_current(now), "$minute", minute_of(now)]},
                "minute_count": {"$cond": [_minute_is_current(now), {"$add": ["$minute_count", 1]}, 1]},
                "live": {"$add": ["$live", 1]},
                reservation.path: {
                    "until": until,
                    "month": reservation.month,
                    "tokens": reservation.tokens,
                    "cost": cost,
                },
                f"months.{reservation.month}": {
                    "messages": _counter(reservation.month, "messages"),
                    "tokens": _counter(reservation.month, "tokens"),
                    "cost": _counter(reservation.month, "cost", Decimal128("0")),
                    "reserved_messages": add("reserved_messages", 1),
                    "reserved_tokens": add("reserved_tokens", reservation.tokens),
                    "reserved_cost": add("reserved_cost", cost),
                },
                **keep_update(sessions, kept_bytes, now),
                "updated_at": now,
            }
        }
    ]


def extend_update(more: Reservation, now: datetime) -> dict[str, Any]:
    """The update that adds `more` to an existing reservation."""
    cost = Decimal128(more.cost)
    return {
        "$inc": {
            f"{more.path}.tokens": more.tokens,
            f"{more.path}.cost": cost,
            f"months.{more.month}.reserved_tokens": more.tokens,
            f"months.{more.month}.reserved_cost": cost,
        },
        "$set": {"updated_at": now},
    }


def end_update(reservation_id: ObjectId) -> tuple[dict[str, Any], dict[str, Any]]:
    """The condition and the update by which a turn that is still to be settled stops to count as running."""
    path = reservation_path(reservation_id)
    return (
        {path: {"$exists": True}, f"{path}.ended": {"$exists": False}},
        {"$set": {f"{path}.ended": True}, "$inc": {"ended": 1}},
    )


def settle_update(settlement: Settlement, now: datetime) -> UpdateOne:
    """The update that replaces a reservation, if it still exists, with usage of the month it was made in."""
    path = reservation_path(settlement.reservation_id)

    def moved(counter: str, reserved: Any, used: Any) -> dict[str, Any]:
        return {
            counter: {"$add": [f"$$this.v.{counter}", used]},
            f"reserved_{counter}": {"$subtract": [f"$$this.v.reserved_{counter}", reserved]},
        }

    settled = {
        **moved("messages", 1, settlement.messages),
        **moved("tokens", f"${path}.tokens", settlement.tokens),
        **moved("cost", f"${path}.cost", Decimal128(usd(settlement.cost))),
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
                    **keep_update(0, settlement.kept_bytes, now),
                    "live": {"$subtract": ["$live", 1]},
                    "ended": {"$subtract": [{"$ifNull": ["$ended", 0]}, {"$cond": [f"${path}.ended", 1, 0]}]},
                    "updated_at": now,
                }
            },
            {"$unset": path},
        ],
    )


def _counter(month: str, counter: str, missing: Any = 0) -> dict[str, Any]:
    return {"$ifNull": [f"$months.{month}.{counter}", missing]}
