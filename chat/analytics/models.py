"""Stored metrics. All of them can be computed again from messages, except those of deleted messages."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from core.mongo.models import Document
from tenants.models import Tenant


class Rollup(Document):
    """The metrics of one tenant over one quarter hour, or over one day, week or month of a time zone.

    The metrics of a quarter hour are `current` (of the messages that exist) plus `archived` (of deleted
    messages). Unless `is_fresh`, `current` is out of date and messages are counted instead. `invalidations`
    counts how often a change was announced, last at `invalidated_at`. Days, weeks and months have only
    `current`, the sum of their quarter hours, and its `summary`.
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
    is_fresh = models.BooleanField(default=False, db_column="fresh")
    invalidations = models.IntegerField(default=0, db_column="marks")
    invalidated_at = models.DateTimeField(null=True, db_column="marked_at")
    current = models.JSONField(default=dict, db_column="live")
    archived = models.JSONField(default=dict, db_column="kept")
    summary = models.JSONField(default=dict)

    class Meta:
        verbose_name = "roll-up"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "kind", "start", "end"], name="rollup_once"),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "kind", "start"], name="rollup_stale", condition=Q(is_fresh=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.start:%Y-%m-%d %H:%M}"


class RollupCoverage(Document):
    """The span of time for which a tenant's quarter hours are rolled up.

    Within it, a quarter hour without a document is one without activity.
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
