"""What a tenant has used and holds reserved: one document, changed by single atomic updates.

A turn is *admitted* before its provider is called: one conditional update checks every limit
of the plan and takes its share of each, so no limit can be passed by callers that race. What
it takes of the month is a *reservation* until the turn is settled with what it really used,
or released. At every instant `used + reserved <= limit`, as long as turns reserve their upper bound
and *extend* their reservation before they use more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from django.db import models
from django.utils import timezone
from pymongo import ReturnDocument, UpdateOne

from config.mongo.models import Document
from tenants.models.limits import (
    EMPTY_MONTH,
    CountersBusy,
    LimitExceeded,
    Standing,
    minute_of,
    money,
    month_of,
    standings,
)
from tenants.models.plan import Plan
from tenants.models.tenant import Tenant

# Between a refusal and the read that explains it others may have made room; then it is tried again.
_ADMISSION_TRIES = 10

# Workers' clocks differ a little: one that is behind must not start the previous minute anew.
_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Admission:
    """A turn that may run. `month` is what it counts against, also in its ledger entries.

    `minute` is how requests per minute stand after it, for the answer's headers.
    """

    reply_id: ObjectId
    month: str
    minute: Standing


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a finished turn really used. `cost` in US dollars; None when no price is known."""

    tenant_id: ObjectId
    reply_id: ObjectId
    tokens: int
    cost: Decimal | None
    messages: int = 1


class UsageManager(models.Manager):
    def admit(
        self,
        tenant: Tenant,
        *,
        reply_id: ObjectId,
        tokens: int,
        cost: Decimal,
        lease_seconds: float,
        now: datetime | None = None,
    ) -> Admission:
        """Reserve one message, `tokens` and `cost` (US dollars) for a turn, all limits or nothing.

        `tenant.plan` must be loaded. The lease only marks when the turn may be
        taken for dead (`expired`); until it is released it counts.
        Raises LimitExceeded, and ValueError for a reply that holds a reservation already.
        """
        now = now or timezone.now()
        share = _Share(reply_id, month_of(now), tokens, money(cost))
        until = now + timedelta(seconds=lease_seconds)
        wanted = dict.fromkeys(("requests_per_minute", "concurrent_turns", "messages_per_month"), 1)
        wanted |= share.wanted
        for _ in range(_ADMISSION_TRIES):
            taken = self.model.collection().find_one_and_update(
                {
                    "_id": tenant.pk,
                    share.path: {"$exists": False},
                    "$expr": _has_room(tenant.plan, share.month, wanted, now),
                },
                _take(share, until, now),
                projection={"minute": 1, "minute_count": 1},
                return_document=ReturnDocument.AFTER,
            )
            if taken is not None:
                return Admission(reply_id, share.month, _minute(tenant.plan, taken, now))
            usage = self.of(tenant)
            if str(reply_id) in usage.reservations:
                raise ValueError(f"Reply {reply_id} holds a reservation already.")
            _explain_refusal(usage, share.month, wanted, now)
        raise CountersBusy

    def extend(
        self,
        tenant: Tenant,
        admission: Admission,
        *,
        tokens: int,
        cost: Decimal,
        now: datetime | None = None,
    ) -> bool:
        """Reserve `tokens` and `cost` (US dollars) more for an admitted turn, both or neither.

        They count against the turn's month, also when that is over. Return False
        if its reservation is gone. Raises LimitExceeded where the month has no room.
        """
        now = now or timezone.now()
        share = _Share(admission.reply_id, admission.month, tokens, money(cost))
        wanted = {limit: amount for limit, amount in share.wanted.items() if amount}
        for _ in range(_ADMISSION_TRIES):
            outcome = self.model.collection().update_one(
                {
                    "_id": tenant.pk,
                    share.path: {"$exists": True},
                    "$expr": _has_room(tenant.plan, share.month, wanted, now),
                },
                _add(share, now),
            )
            if outcome.matched_count:
                return True
            usage = self.of(tenant)
            if str(share.reply_id) not in usage.reservations:
                return False
            _explain_refusal(usage, share.month, wanted, now)
        raise CountersBusy

    def of(self, tenant: Tenant) -> Usage:
        """Return the tenant's usage; a tenant's first use makes it."""
        raw = self.model.collection().find_one({"_id": tenant.pk}) or self._begin(tenant.pk)
        usage = self.model.from_document(raw)
        usage.tenant = tenant
        return usage

    def _begin(self, tenant_id: ObjectId) -> dict[str, Any]:
        now = timezone.now()
        fresh = {"minute": None, "minute_count": 0, "live": 0, "reservations": {}, "months": {}, "alerts": {}}
        return self.model.collection().find_one_and_update(
            {"_id": tenant_id},
            {"$setOnInsert": {**fresh, "created_at": now, "updated_at": now}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )

    def settle(
        self,
        tenant_id: ObjectId,
        reply_id: ObjectId,
        *,
        messages: int = 1,
        tokens: int,
        cost: Decimal | None,
    ) -> bool:
        """Turn a reservation into use, exactly once. Return False if it is settled or released already."""
        return self.settle_many([Settlement(tenant_id, reply_id, tokens, cost, messages)]) == 1

    def settle_many(self, settlements: Iterable[Settlement]) -> int:
        """Settle each that still holds its reservation, in one round trip; return how many did."""
        writes = [_settling(settlement, timezone.now()) for settlement in settlements]
        if not writes:
            return 0
        return self.model.collection().bulk_write(writes, ordered=False).modified_count

    def release(self, tenant_id: ObjectId, reply_id: ObjectId) -> bool:
        """Give a reservation back unused. Return False if there is none."""
        return self.settle(tenant_id, reply_id, messages=0, tokens=0, cost=None)

    def renew(
        self, tenant_id: ObjectId, reply_id: ObjectId, *, lease_seconds: float, now: datetime | None = None
    ) -> bool:
        """Extend the lease of a running turn. Return False if its reservation is gone."""
        path = f"reservations.{reply_id}"
        until = (now or timezone.now()) + timedelta(seconds=lease_seconds)
        outcome = self.model.collection().update_one(
            {"_id": tenant_id, path: {"$exists": True}}, {"$set": {f"{path}.until": until}}
        )
        return outcome.matched_count == 1

    def expired(self, now: datetime | None = None) -> list[tuple[ObjectId, ObjectId]]:
        """Return (tenant id, reply id) of reservations past their lease.

        They count until somebody who knows that the turn is dead settles or releases them.
        """
        late = self.model.collection().aggregate(
            [
                {"$match": {"live": {"$gt": 0}}},
                {"$project": {"held": {"$objectToArray": "$reservations"}}},
                {"$unwind": "$held"},
                {"$match": {"held.v.until": {"$lte": now or timezone.now()}}},
            ]
        )
        return [(row["_id"], ObjectId(row["held"]["k"])) for row in late]


class SubdocumentField(models.Field):
    """An embedded document as the database keeps it. JSONField can't hold its dates and Decimal128."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"default": dict, "editable": False, **options})

    def db_type(self, connection: Any) -> str:
        return "object"


class Usage(Document):
    """The counters behind every limit of the plan.

    - `minute`, `minute_count`: the current minute and the turns admitted in it.
    - `live`: reservations held, which is the number of running turns.
    - `reservations`: `{reply id: {"until", "month", "tokens", "cost"}}`.
    - `months`: `{"2026-11": {"messages", "tokens", "cost", "reserved_messages",
      "reserved_tokens", "reserved_cost"}}`, cost in US dollars as Decimal128.
    - `alerts`: `{"2026-11": {limit: percent last told}}` (tenants.alerts).
    """

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, db_column="_id", related_name="usage"
    )
    minute = models.DateTimeField(null=True)
    minute_count = models.IntegerField(default=0)
    live = models.IntegerField(default=0)
    reservations = SubdocumentField()
    months = SubdocumentField()
    alerts = SubdocumentField()

    objects = UsageManager()

    class Meta:
        verbose_name_plural = "usage"

    def __str__(self) -> str:
        return f"usage of {self.tenant_id}"

    def standings(self, now: datetime | None = None, month: str | None = None) -> list[Standing]:
        """Return how every limit of the plan stands, in the present month unless another is named."""
        now = now or timezone.now()
        return standings(
            self.tenant.plan,
            minute_count=self.minute_count if _is_current(self.minute, now) else 0,
            live=self.live,
            month=self.months.get(month or month_of(now), EMPTY_MONTH),
            now=now,
        )


@dataclass(frozen=True, slots=True)
class _Share:
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


def _is_current(minute: datetime | None, now: datetime) -> bool:
    return minute is not None and minute_of(now) <= minute <= minute_of(now) + _CLOCK_SKEW


def _minute_is_current(now: datetime) -> dict[str, Any]:
    """`_is_current` in the database's words."""
    first = minute_of(now)
    return {"$and": [{"$gte": ["$minute", first]}, {"$lte": ["$minute", first + _CLOCK_SKEW]}]}


def _has_room(plan: Plan, month: str, wanted: dict[str, Any], now: datetime) -> dict[str, Any]:
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


def _explain_refusal(usage: Usage, month: str, wanted: dict[str, Any], now: datetime) -> None:
    """Raise which limit has no room for what is `wanted` of it; return if none stands in the way any more."""
    for standing in usage.standings(now, month):
        if standing.name in wanted and not standing.has_room_for(wanted[standing.name]):
            raise LimitExceeded(standing, now)


def _take(share: _Share, until: datetime, now: datetime) -> list[dict[str, Any]]:
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


def _add(share: _Share, now: datetime) -> dict[str, Any]:
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


def _settling(settlement: Settlement, now: datetime) -> UpdateOne:
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


def _minute(plan: Plan, taken: dict[str, Any], now: datetime) -> Standing:
    return standings(plan, minute_count=taken["minute_count"], live=0, month=EMPTY_MONTH, now=now)[0]
