"""What a tenant has used and holds reserved: one document, changed by single atomic updates."""

from __future__ import annotations

from django.db import models

from config.mongo.models import Document
from tenants.models.tenant import Tenant


class Usage(Document):
    """The counters behind every limit of the plan.

    - `minute`, `minute_count`: the current minute and the turns admitted in it.
    - `live`: reservations held, which is the number of running turns.
    - `reservations`: `{reply id: {"until", "month", "tokens", "cost"}}`.
    - `months`: `{"2026-11": {"messages", "tokens", "cost", "reserved_messages",
      "reserved_tokens", "reserved_cost"}}`, cost in US dollars as Decimal128.
    """

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, db_column="_id", related_name="usage"
    )
    minute = models.DateTimeField(null=True)
    minute_count = models.IntegerField(default=0)
    live = models.IntegerField(default=0)
    reservations = models.JSONField(default=dict)
    months = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "usage"

    def __str__(self) -> str:
        return f"usage of {self.tenant_id}"
