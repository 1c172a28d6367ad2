"""Every call to a provider that cost or could have cost, written once and never changed."""

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
from tenants.billing.limits import number
from tenants.billing.usage import Usage
from tenants.models.tenant import Tenant

FIGURES = ("messages", "tokens", "cost")


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure of a tenant's usage that is not what its entries or reservations sum up to."""

    tenant_id: ObjectId
    month: str
    figure: str
    counted: int | Decimal
    expected: int | Decimal


class LedgerQuerySet(AppendOnlyQuerySet):
    def sums(self, tenant_id: ObjectId | None = None) -> dict[tuple[ObjectId, str], dict[str, Any]]:
        """Return what the entries of each tenant and month sum up to."""
        rows = self.model.collection().aggregate(
            [
                {"$match": {"tenant_id": tenant_id} if tenant_id else {}},
                {
                    "$group": {
                        "_id": {"tenant": "$tenant_id", "month": "$month"},
                        **{figure: {"$sum": f"${figure}"} for figure in FIGURES},
                    }
                },
            ]
        )
        return {
            (row["_id"]["tenant"], row["_id"]["month"]): {figure: row[figure] for figure in FIGURES}
            for row in rows
        }

    def drift(self) -> Iterator[Drift]:
        """Yield where usage differs from the ledger, or its reserved figures from its reservations.

        Exact while nothing is being settled: a turn between its ledger entry and its settlement shows.
        """
        expected = self.sums()
        counted: dict[tuple[ObjectId, str], dict[str, Any]] = {}
        for usage in Usage.collection().find():
            for month, figures in usage["months"].items():
                counted[usage["_id"], month] = figures
            for held in usage["reservations"].values():
                _add_reservation(expected.setdefault((usage["_id"], held["month"]), {}), held)
        for tenant_id, month in sorted({*expected, *counted}):
            ours, theirs = counted.get((tenant_id, month), {}), expected.get((tenant_id, month), {})
            for figure in (*FIGURES, *(f"reserved_{figure}" for figure in FIGURES)):
                if number(ours.get(figure, 0)) != number(theirs.get(figure, 0)):
                    yield Drift(
                        tenant_id, month, figure, number(ours.get(figure, 0)), number(theirs.get(figure, 0))
                    )

    def rebuild(self, tenant_id: ObjectId) -> bool:
        """Set the used figures of a tenant to what its entries sum up to.

        Return False, having changed nothing, while turns run or when one began or ended meanwhile.
        """
        usage = Usage.collection().find_one({"_id": tenant_id, "live": 0})
        if usage is None:
            return False
        months = {
            month: {
                **figures,
                "cost": figures["cost"] or Decimal128("0"),
                "reserved_messages": 0,
                "reserved_tokens": 0,
                "reserved_cost": Decimal128("0"),
            }
            for (_, month), figures in self.sums(tenant_id).items()
        }
        unchanged = {"_id": tenant_id, "live": 0, "months": usage["months"]}
        return Usage.collection().update_one(unchanged, {"$set": {"months": months}}).matched_count == 1


def _add_reservation(sums: dict[str, Any], held: dict[str, Any]) -> None:
    for figure, amount in (("messages", 1), ("tokens", held["tokens"]), ("cost", number(held["cost"]))):
        sums[f"reserved_{figure}"] = sums.get(f"reserved_{figure}", 0) + amount


class LedgerEntry(AppendOnly, Document):
    """One attempt of one run of one reply.

    `messages`, `tokens` and `cost` are what counts against the tenant's month:
    over all entries of a month they sum up to the figures in `Usage`. `cost` is
    None where no price is known.
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
