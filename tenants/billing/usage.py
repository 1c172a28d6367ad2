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

from bson import ObjectId
from django.db import models
from django.utils import timezone
from pymongo import ReturnDocument

from core.mongo.models import Document
from tenants.billing.counters import Settlement, Share, add, has_room, is_current, settling, take
from tenants.billing.limits import (
    EMPTY_MONTH,
    CountersBusy,
    LimitExceeded,
    Standing,
    money,
    month_of,
    standings,
)
from tenants.billing.plan import Plan
from tenants.models.tenant import Tenant

# Between a refusal and the read that explains it others may have made room; then it is tried again.
_ADMISSION_TRIES = 10


@dataclass(frozen=True, slots=True)
class Admission:
    """A turn that may run. `month` is what it counts against, also in its ledger entries.

    `minute` is how requests per minute stand after it, for the answer's headers.
    """

    reply_id: ObjectId
    month: str
    minute: Standing


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
        share = Share(reply_id, month_of(now), tokens, money(cost))
        until = now + timedelta(seconds=lease_seconds)
        wanted = dict.fromkeys(("requests_per_minute", "concurrent_turns", "messages_per_month"), 1)
        wanted |= share.wanted
        for _ in range(_ADMISSION_TRIES):
            taken = self.model.collection().find_one_and_update(
                {
                    "_id": tenant.pk,
                    share.path: {"$exists": False},
                    "$expr": has_room(tenant.plan, share.month, wanted, now),
                },
                take(share, until, now),
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
        share = Share(admission.reply_id, admission.month, tokens, money(cost))
        wanted = {limit: amount for limit, amount in share.wanted.items() if amount}
        for _ in range(_ADMISSION_TRIES):
            outcome = self.model.collection().update_one(
                {
                    "_id": tenant.pk,
                    share.path: {"$exists": True},
                    "$expr": has_room(tenant.plan, share.month, wanted, now),
                },
                add(share, now),
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
        writes = [settling(settlement, timezone.now()) for settlement in settlements]
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
    - `alerts`: `{"2026-11": {limit: percent last told}}` (tenants.billing.alerts).
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
            minute_count=self.minute_count if is_current(self.minute, now) else 0,
            live=self.live,
            month=self.months.get(month or month_of(now), EMPTY_MONTH),
            now=now,
        )


def _explain_refusal(usage: Usage, month: str, wanted: dict[str, Any], now: datetime) -> None:
    """Raise which limit has no room for what is `wanted` of it; return if none stands in the way any more."""
    for standing in usage.standings(now, month):
        if standing.name in wanted and not standing.has_room_for(wanted[standing.name]):
            raise LimitExceeded(standing, now)


def _minute(plan: Plan, taken: dict[str, Any], now: datetime) -> Standing:
    return standings(plan, minute_count=taken["minute_count"], live=0, month=EMPTY_MONTH, now=now)[0]
