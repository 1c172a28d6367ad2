"""Every call to a provider that cost or could have cost, written once and never changed."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdField

from config.mongo.models import Document
from tenants.models.tenant import Tenant


class LedgerEntry(Document):
    """One attempt of one run of one reply.

    `messages`, `tokens` and `cost` are what counts against the tenant's month:
    over all entries of a month they sum up to the figures in `Usage`.
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

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name_plural = "ledger entries"
        constraints = (
            models.UniqueConstraint(fields=["reply", "run", "attempt"], name="one_entry_an_attempt"),
        )
        indexes = (
            models.Index(fields=["tenant", "month"], name="ledger_month"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="ledger_newest"),
            models.Index(fields=["reply"], name="ledger_reply"),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} for {self.reply}"
