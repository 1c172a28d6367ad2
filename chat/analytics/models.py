"""Kept figures. All of it is derived: `rollups` makes it again from messages."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core.mongo.models import Document
from tenants.models import Tenant


class Rollup(Document):
    """The figures of one tenant over one quarter hour, or one day, week or month of some time zone.

    A quarter hour's figures are `live` (of the messages that exist) plus `kept` (of those
    that were removed). `fresh` says that `live` may be believed; what is not fresh is counted from
    the messages. `marks` grows with each announced change, last at `marked_at`. The longer ones have
    `live` alone, the sum of their quarter hours, and its `summary`.
    """

    class Kind(models.TextChoices):
        QUARTER = "quarter"
        DAY = "day"
        WEEK = "week"
        MONTH = "month"

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=7, choices=Kind)
    start = models.DateTimeField()
    end = models.DateTimeField()
    fresh = models.BooleanField(default=False)
    marks = models.IntegerField(default=0)
    marked_at = models.DateTimeField(null=True)
    live = models.JSONField(default=dict)
    kept = models.JSONField(default=dict)
    summary = models.JSONField(default=dict)

    class Meta:
        verbose_name = "roll-up"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "kind", "start", "end"], name="rollup_once"),
        ]
        indexes = [
            models.Index(fields=["tenant", "kind", "start"], name="rollup_stale", condition=Q(fresh=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.start:%Y-%m-%d %H:%M}"


class RollupCoverage(Document):
    """The stretch of time for which a tenant's quarter hours are rolled up.

    Within it a quarter hour without a document is one in which nothing happened.
    """

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, db_column="_id", related_name="+"
    )
    since = models.DateTimeField()
    until = models.DateTimeField()

    class Meta:
        verbose_name = "roll-up coverage"
        verbose_name_plural = "roll-up coverage"

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M}"
