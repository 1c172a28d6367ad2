"""Conversations: a session and its messages."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from config.mongo.models import Document
from tenants.models import Tenant


class ChatSession(Document):
    """One conversation of a tenant, held by a user of the team, by a key's site or by a visitor.

    `overrides` may set what the tenant's settings say otherwise: `system_prompt`,
    `route`, `temperature`, `max_tokens`. The counters follow the messages within a second.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        CLOSED = "closed"

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="sessions", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    visitor = models.CharField(max_length=100, blank=True, default="")
    origin = models.CharField(max_length=255, blank=True, default="")
    title = models.CharField(max_length=200, blank=True, default="")
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    overrides = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    message_count = models.IntegerField(default=0, editable=False)
    last_message_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "chat session"
        indexes = [
            models.Index(fields=["tenant", "-last_message_at", "-id"], name="session_by_activity"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="session_by_age"),
            models.Index(fields=["tenant", "visitor", "-last_message_at", "-id"], name="session_by_visitor"),
            models.Index(fields=["tenant", "user", "-last_message_at", "-id"], name="session_by_user"),
        ]

    def __str__(self) -> str:
        return self.title or f"Session {self.pk}"


class Message(Document):
    """A question or a reply. `seq` orders a session's messages and is never given twice.

    A reply begins as `streaming` with a lease that its worker renews; it ends in
    exactly one other status, by one conditional update (see `chat.turns`).
    `run` counts its attempts in place (`retry`); `attempts` is the receipt of all
    runs. `settled` is False from the end of a reply until ledger, quota and
    session counters have followed it, None for questions.
    """

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Status(models.TextChoices):
        STREAMING = "streaming"
        COMPLETE = "complete"
        CANCELLED = "cancelled"
        FAILED = "failed"
        INTERRUPTED = "interrupted"

    session = models.ForeignKey(ChatSession, models.CASCADE, related_name="messages", db_index=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    seq = models.IntegerField()
    role = models.CharField(max_length=10, choices=Role)
    content = models.TextField(blank=True)
    status = models.CharField(max_length=12, choices=Status, default=Status.COMPLETE)
    metadata = models.JSONField(default=dict, blank=True)

    # Of questions
    idempotency = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001 - absent is not ""
    fingerprint = models.CharField(max_length=64, blank=True, default="", editable=False)

    # Of replies
    in_reply_to = models.ForeignKey("self", models.CASCADE, null=True, related_name="+", db_index=False)
    run = models.IntegerField(default=1)
    provider = models.CharField(max_length=40, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    finish = models.CharField(max_length=12, blank=True, default="")
    input_tokens = models.IntegerField(default=0)
    output_tokens = models.IntegerField(default=0)
    cached_tokens = models.IntegerField(default=0)
    reasoning_tokens = models.IntegerField(default=0)
    tokens_estimated = models.BooleanField(default=False)
    cost = models.DecimalField(max_digits=18, decimal_places=10, null=True)
    cost_basis = models.CharField(max_length=10, blank=True, default="")
    first_token_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)
    attempts = models.JSONField(default=list)
    error = models.JSONField(null=True)
    feedback = models.JSONField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True, editable=False)
    cancel_requested = models.BooleanField(default=False, editable=False)
    settled = models.BooleanField(null=True, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "created_at"], name="message_by_tenant"),
            models.Index(
                fields=["lease_until"], name="message_streaming", condition=Q(status="streaming")
            ),
            models.Index(fields=["finished_at"], name="message_unsettled", condition=Q(settled=False)),
        ]
        constraints = [
            models.UniqueConstraint(fields=["session", "seq"], name="message_order"),
            models.UniqueConstraint(
                fields=["idempotency"], name="message_once", condition=Q(idempotency__gt="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.seq}: {self.content[:60]}"

    @property
    def is_final(self) -> bool:
        return self.status != self.Status.STREAMING
