"""What a tenant has used and reserved: one document, changed by single atomic updates.

A turn is *admitted* before its provider is called: one conditional update checks every limit of the plan and
counts the turn against each, so concurrent callers can't exceed a limit. What it counts against the month is
a *reservation* until the turn is *settled* with what it used, or *released*. At every instant
`used + reserved <= limit`, as long as turns reserve their upper bound and *extend* their reservation before
they use more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from bson import ObjectId
from django.db import models
from django.utils import timezone
from pymongo import ReturnDocument

from core.limits import LimitUsage
from core.mongo.models import Document
from tenants.billing.counters import (
    Reservation,
    Settlement,
    end_update,
    extend_update,
    has_room,
    is_current,
    keep_update,
    reservation_path,
    reserve_update,
    settle_update,
)
from tenants.billing.limits import (
    EMPTY_MONTH,
    CountersBusy,
    day_of,
    limit_usages,
    month_of,
    plan_limit_reached,
    usd,
)
from tenants.billing.plan import Plan
from tenants.models.tenant import Tenant

# Between a failed update and the read that explains it other turns may have made room; then it is retried.
_ADMISSION_TRIES = 10


@dataclass(frozen=True, slots=True)
class Admission:
    """A turn that may run. `month` is what it counts against, also in its ledger entries.

    `minute` is the usage of requests per minute including this turn, for the response's headers.
    """

    reservation_id: ObjectId
    month: str
    minute: LimitUsage


class UsageManager(models.Manager["Usage"]):
    def admit(
        self,
        tenant: Tenant,
        *,
        reservation_id: ObjectId,
        tokens: int,
        cost: Decimal,
        lease_seconds: float,
        sessions: int = 0,
        kept_bytes: int = 0,
        now: datetime | None = None,
    ) -> Admission:
        """Reserve one message, `tokens` and `cost` (US dollars) for a turn: all of it or nothing.

        `sessions` and `kept_bytes` are what is stored with it.

        `tenant.plan` must be loaded. The lease only says when the turn may be considered dead (`expired`);
        until it is released it counts.
        Raises LimitReached, KeptDataLimit, and ValueError for an id that has a reservation already.
        """
        now = now or timezone.now()
        reservation = Reservation(reservation_id, month_of(now), tokens, usd(cost))
        until = now + timedelta(seconds=lease_seconds)
        amounts: dict[str, int | Decimal] = dict.fromkeys(
            ("requests_per_minute", "concurrent_turns", "messages_per_month"), 1
        )
        amounts |= reservation.amounts | _kept_amounts(sessions, kept_bytes)
        for _ in range(_ADMISSION_TRIES):
            updated = self.model.collection().find_one_and_update(
                {
                    "_id": tenant.pk,
                    reservation.path: {"$exists": False},
                    "$expr": has_room(tenant.plan, reservation.month, amounts, now),
                },
                reserve_update(reservation, until, now, sessions=sessions, kept_bytes=kept_bytes),
                projection={"minute": 1, "minute_count": 1},
                return_document=ReturnDocument.AFTER,
            )
            if updated is not None:
                return Admission(reservation_id, reservation.month, _minute(tenant.plan, updated, now))
            usage = self.of(tenant)
            if str(reservation_id) in usage.reservations:
                raise ValueError(f"There is a reservation {reservation_id} already.")
            _raise_if_reached(usage, reservation.month, amounts, now)
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

        They count against the turn's month, even after it has ended. Return False if the reservation no
        longer exists. Raises LimitReached if the month has no room.
        """
        now = now or timezone.now()
        more = Reservation(admission.reservation_id, admission.month, tokens, usd(cost))
        amounts = {limit: amount for limit, amount in more.amounts.items() if amount}
        for _ in range(_ADMISSION_TRIES):
            result = self.model.collection().update_one(
                {
                    "_id": tenant.pk,
                    more.path: {"$exists": True},
                    "$expr": has_room(tenant.plan, more.month, amounts, now),
                },
                extend_update(more, now),
            )
            if result.matched_count:
                return True
            usage = self.of(tenant)
            if str(more.reservation_id) not in usage.reservations:
                return False
            _raise_if_reached(usage, more.month, amounts, now)
        raise CountersBusy

    def keep_session(self, tenant: Tenant, kept_bytes: int, now: datetime | None = None) -> None:
        """Count a session that is opened without a turn. Raises LimitReached, KeptDataLimit."""
        self.keep(tenant, kept_bytes, sessions=1, now=now)

    def keep(
        self, tenant: Tenant, kept_bytes: int, *, sessions: int = 0, now: datetime | None = None
    ) -> None:
        """Count what is stored without a turn. Raises LimitReached, KeptDataLimit."""
        now = now or timezone.now()
        month, amounts = month_of(now), _kept_amounts(sessions, kept_bytes)
        for _ in range(_ADMISSION_TRIES):
            room = {"_id": tenant.pk, "$expr": has_room(tenant.plan, month, amounts, now)}
            update = [{"$set": keep_update(sessions, kept_bytes, now)}]
            if self.model.collection().update_one(room, update).matched_count:
                return
            _raise_if_reached(self.of(tenant), month, amounts, now)
        raise CountersBusy

    def of(self, tenant: Tenant) -> Usage:
        """Return the tenant's usage document, created at its first use."""
        raw = self.model.collection().find_one({"_id": tenant.pk}) or self._create_document(tenant.pk)
        usage = self.model.from_document(raw)
        usage.tenant = tenant
        return usage

    def _create_document(self, tenant_id: ObjectId) -> dict[str, Any]:
        now = timezone.now()
        empty: dict[str, Any] = {"minute": None, "minute_count": 0, "live": 0, "ended": 0}
        empty |= {"reservations": {}, "months": {}, "alerts": {}}
        document = self.model.collection().find_one_and_update(
            {"_id": tenant_id},
            {"$setOnInsert": {**empty, "created_at": now, "updated_at": now}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return cast(dict[str, Any], document)  # An upsert always returns one.

    def end(self, tenant_id: ObjectId, reservation_id: ObjectId) -> bool:
        """Count a turn as running no more, before it is settled. False if it does not count already."""
        condition, update = end_update(reservation_id)
        return self.model.collection().update_one({"_id": tenant_id, **condition}, update).modified_count == 1

    def settle(
        self,
        tenant_id: ObjectId,
        reservation_id: ObjectId,
        *,
        messages: int = 1,
        tokens: int,
        cost: Decimal | None,
    ) -> bool:
        """Replace a reservation with usage, exactly once. Return False if it no longer exists."""
        return self.settle_many([Settlement(tenant_id, reservation_id, tokens, cost, messages)]) == 1

    def settle_many(self, settlements: Iterable[Settlement]) -> int:
        """Settle each reservation that still exists, in one round trip; return how many were settled."""
        writes = [settle_update(settlement, timezone.now()) for settlement in settlements]
        if not writes:
            return 0
        return self.model.collection().bulk_write(writes, ordered=False).modified_count

    def release(self, tenant_id: ObjectId, reservation_id: ObjectId) -> bool:
        """Remove a reservation unused. Return False if it no longer exists."""
        return self.settle(tenant_id, reservation_id, messages=0, tokens=0, cost=None)

    def renew(
        self,
        tenant_id: ObjectId,
        reservation_id: ObjectId,
        *,
        lease_seconds: float,
        now: datetime | None = None,
    ) -> bool:
        """Extend the lease of a running turn. Return False if its reservation no longer exists."""
        path = reservation_path(reservation_id)
        until = (now or timezone.now()) + timedelta(seconds=lease_seconds)
        result = self.model.collection().update_one(
            {"_id": tenant_id, path: {"$exists": True}}, {"$set": {f"{path}.until": until}}
        )
        return result.matched_count == 1

    def expired(self, now: datetime | None = None) -> list[tuple[ObjectId, ObjectId]]:
        """Return (tenant id, reservation id) of reservations whose lease has expired.

        They count until a caller that knows that the turn is dead settles or releases them.
        """
        rows = self.model.collection().aggregate(
            [
                {"$match": {"live": {"$gt": 0}}},
                {"$match": {"reservations": {"$type": "object"}}},
                {"$project": {"held": {"$objectToArray": "$reservations"}}},
                {"$unwind": "$held"},
                {"$match": {"held.v.until": {"$lte": now or timezone.now()}}},
            ]
        )
        return [
            (row["_id"], ObjectId(row["held"]["k"])) for row in rows if ObjectId.is_valid(row["held"]["k"])
        ]


class SubdocumentField(models.Field):  # type: ignore[type-arg]  # Django's Field can't be subscripted.
    """An embedded document as the database stores it. JSONField can't hold its dates and Decimal128."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"default": dict, "editable": False, **options})

    def db_type(self, connection: Any) -> str:
        return "object"


class Usage(Document):
    """The counters behind every limit of the plan.

    - `minute`, `minute_count`: the current minute and the turns admitted in it.
    - `live`: the number of reservations, one for each turn that is not settled; `ended`: of these the turns
      that do not run any more.
    - `reservations`: `{reservation id: {"until", "month", "tokens", "cost", "ended"?}}`.
    - `months`: `{"2026-11": {"messages", "tokens", "cost", "reserved_messages", "reserved_tokens",
      "reserved_cost"}}`, cost in US dollars as Decimal128.
    - `day`, `day_sessions`: a day (UTC) and the conversations opened in it.
    - `kept_bytes`: of conversations; `kept_counted_at`: when they were last counted one by one.
    - `alerts`: `{"2026-11": {limit: highest percentage that was sent}}` (tenants.billing.alerts).
    """

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, db_column="_id", related_name="usage"
    )
    tenant_id: ObjectId
    minute = models.DateTimeField(null=True)
    minute_count = models.IntegerField(default=0)
    live = models.IntegerField(default=0)
    day = models.CharField(max_length=10, blank=True, default="")
    day_sessions = models.IntegerField(default=0)
    kept_bytes = models.BigIntegerField(default=0)
    kept_counted_at = models.DateTimeField(null=True)
    ended = models.IntegerField(default=0)
    reservations = SubdocumentField()
    months = SubdocumentField()
    alerts = SubdocumentField()

    objects = UsageManager()

    class Meta:
        verbose_name_plural = "usage"

    def __str__(self) -> str:
        return f"usage of {self.tenant_id}"

    @property
    def running_turns(self) -> int:
        return self.live - (self.ended or 0)

    def limit_usages(self, now: datetime | None = None, month: str | None = None) -> list[LimitUsage]:
        """Return the usage of every limit of the plan, in the present month unless `month` names another."""
        now = now or timezone.now()
        return limit_usages(
            self.tenant.plan,
            minute_count=self.minute_count if is_current(self.minute, now) else 0,
            running_turns=self.running_turns,
            month=self.months.get(month or month_of(now), EMPTY_MONTH),
            now=now,
            day_sessions=self.day_sessions or 0 if self.day == day_of(now) else 0,
            kept_bytes=self.kept_bytes or 0,
        )


def _kept_amounts(sessions: int, kept_bytes: int) -> dict[str, int | Decimal]:
    return {
        name: amount
        for name, amount in (("sessions_per_day", sessions), ("kept_bytes", kept_bytes))
        if amount
    }


def _raise_if_reached(usage: Usage, month: str, amounts: dict[str, Any], now: datetime) -> None:
    """Raise the error of the first limit without room for its amount; return if all have room by now."""
    for limit in usage.limit_usages(now, month):
        if limit.name in amounts and not limit.has_room_for(amounts[limit.name]):
            raise plan_limit_reached(limit)


def _minute(plan: Plan, updated: dict[str, Any], now: datetime) -> LimitUsage:
    minute_count = updated["minute_count"]
    return limit_usages(plan, minute_count=minute_count, running_turns=0, month=EMPTY_MONTH, now=now)[0]
