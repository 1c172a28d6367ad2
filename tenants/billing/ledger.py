"""The ledger: every billable call to a provider, written once and never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from django.db import models
from django_mongodb_backend.fields import ObjectIdField

from core.mongo.append_only import AppendOnly, AppendOnlyQuerySet
from core.mongo.models import Document
from tenants.billing.counters import COUNTERS
from tenants.billing.limits import from_decimal128
from tenants.billing.usage import Usage
from tenants.models.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Drift:
    """A counter of a tenant's usage that differs from the sum of its ledger entries or reservations."""

    tenant_id: ObjectId
    month: str
    counter: str
    counted: int | Decimal
    expected: int | Decimal


class LedgerQuerySet(AppendOnlyQuerySet["LedgerEntry"]):
    def sums(self, tenant_id: ObjectId | None = None) -> dict[tuple[ObjectId, str], dict[str, Any]]:
        """Return the sums of the entries by tenant and month: `{(tenant id, month): {counter: sum}}`."""
        rows = self.model.collection().aggregate(
            [
                {"$match": {"tenant_id": tenant_id} if tenant_id else {}},
                {
                    "$group": {
                        "_id": {"tenant": "$tenant_id", "month": "$month"},
                        **{counter: {"$sum": f"${counter}"} for counter in COUNTERS},
                    }
                },
            ]
        )
        return {
            (row["_id"]["tenant"], row["_id"]["month"]): {counter: row[counter] for counter in COUNTERS}
            for row in rows
        }

    def drift(self) -> Iterator[Drift]:
        """Yield where usage differs from the ledger, or its reserved counters from its reservations.

        Exact while nothing is being settled: a turn between its ledger entry and its settlement shows.
        """
        expected = self.sums()
        counted: dict[tuple[ObjectId, str], dict[str, Any]] = {}
        for usage in Usage.collection().find():
            try:
                months, reserved = _counters_of(usage)
            except Exception:  # One document that cannot be read hides no drift of the others.
                yield Drift(usage["_id"], "any month", "usage can't be read", 0, 0)
                continue
            counted |= {(usage["_id"], month): counters for month, counters in months.items()}
            for month, sums in reserved.items():
                expected.setdefault((usage["_id"], month), {}).update(sums)
        for tenant_id, month in sorted({*expected, *counted}):
            sums, counters = expected.get((tenant_id, month), {}), counted.get((tenant_id, month), {})
            for name in (*COUNTERS, *(f"reserved_{counter}" for counter in COUNTERS)):
                have, should = (from_decimal128(values.get(name, 0)) for values in (counters, sums))
                if have != should:
                    yield Drift(tenant_id, month, name, have, should)

    def rebuild(self, tenant_id: ObjectId) -> bool:
        """Set the counters of a tenant to the sums of its entries.

        Return False, with nothing changed, while turns run or if one began or ended meanwhile.
        """
        usage = Usage.collection().find_one({"_id": tenant_id, "live": 0})
        if usage is None:
            return False
        months = {
            month: {
                **sums,
                "cost": sums["cost"] or Decimal128("0"),
                "reserved_messages": 0,
                "reserved_tokens": 0,
                "reserved_cost": Decimal128("0"),
            }
            for (_, month), sums in self.sums(tenant_id).items()
        }
        unchanged = {"_id": tenant_id, "live": 0, "months": usage["months"]}
        return Usage.collection().update_one(unchanged, {"$set": {"months": months}}).matched_count == 1


def _counters_of(usage: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the counters of a usage document by month, and the sums of its reservations by month."""
    months = {month: dict(counters) for month, counters in usage["months"].items()}
    reserved: dict[str, dict[str, Any]] = {}
    for reservation in usage["reservations"].values():
        _add_reservation(reserved.setdefault(reservation["month"], {}), reservation)
    return months, reserved


def _add_reservation(sums: dict[str, Any], reservation: dict[str, Any]) -> None:
    reserved = {"messages": 1, "tokens": reservation["tokens"], "cost": from_decimal128(reservation["cost"])}
    for counter, amount in reserved.items():
        sums[f"reserved_{counter}"] = sums.get(f"reserved_{counter}", 0) + amount


class LedgerEntry(AppendOnly, Document):
    """One attempt of one run of one reply.

    `messages`, `tokens` and `cost` count against the tenant's month: their sums over a month's entries are
    the counters in `Usage`. `cost` is None where no price is known.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="ledger", db_index=False)
    month = models.CharField(max_length=7, help_text="The month it counts against, as 2026-11 (UTC).")
    session = ObjectIdField(null=True, blank=True)
    reply = ObjectIdField()
    run = models.IntegerField(default=1)
    attempt = models.IntegerField(default=1)
    api_key = ObjectIdField(null=True, blank=True)
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=200, blank=True, default="")
    outcome = models.CharField(max_length=40)
    input_tokens = models.IntegerField(null=True)
    output_tokens = models.IntegerField(null=True)
    messages = models.IntegerField(default=0)
    tokens = models.IntegerField(default=0)
    cost = models.DecimalField(
        max_digits=18, decimal_places=10, null=True, help_text="US dollars; empty where no price is known."
    )
    cost_basis = models.CharField(max_length=10, default="unpriced")

    objects = LedgerQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name_plural = "ledger entries"
        constraints = (
            models.UniqueConstraint(fields=["reply", "run", "attempt"], name="one_entry_an_attempt"),
        )
        indexes = (
            models.Index(fields=["tenant", "month"], name="ledger_month"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="ledger_newest"),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} for {self.reply}"
