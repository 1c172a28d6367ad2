"""Sessions and their messages."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_mongodb_backend.fields import ObjectIdField

from chat.analytics.models import Rollup, RollupCoverage  # noqa: F401 - Django finds models from here
from chat.visitor_identity import VisitorIdentity  # noqa: F401 - as above
from core.errors import NotFound
from core.mongo.indexes import TextIndex
from core.mongo.models import Document
from core.mongo.text_search import inner_words, search_expression
from tenants.models import Tenant

if TYPE_CHECKING:
    from tenants.access import Access

#: A site's own id of a person.
MAX_VISITOR_LENGTH = 100

#: The states a message does not leave by itself. The word index covers these only, so that checkpoints of a
#: running reply do not write to it.
FINAL = ("complete", "cancelled", "failed", "interrupted")


class ChatSessionQuerySet(models.QuerySet["ChatSession"]):
    def visible_to(self, access: Access) -> ChatSessionQuerySet:
        """Return those of the access's tenant; of a visitor only its own."""
        sessions = self.filter(tenant=access.tenant, deleted_at=None)
        return sessions if access.visitor is None else sessions.filter(visitor=access.visitor)


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, access: Access) -> MessageQuerySet:
        """Return those of the access's tenant."""
        return self.filter(tenant=access.tenant)

    def with_words(self, text: str) -> MessageQuerySet:
        """Return those whose final text has all words of `text`; a running reply has no final text yet."""
        if not search_expression(text):
            return self.none()
        return self.filter(status__in=FINAL, content__words=text)


class ChatSession(Document):
    """One conversation of a tenant: of a user of the team, of a site with a key, or of a visitor.

    `overrides` may replace these settings of the tenant: `system_prompt`, `route`, `temperature`,
    `max_tokens`. The counters follow the messages within a second.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        CLOSED = "closed"

    # Django adds this attribute; its type stubs don't know keys that are ObjectIds.
    tenant_id: ObjectId

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="sessions", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    visitor = models.CharField(max_length=MAX_VISITOR_LENGTH, blank=True, default="")
    origin = models.CharField(max_length=255, blank=True, default="")
    title = models.CharField(max_length=200, blank=True, default="")
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    overrides = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    message_count = models.IntegerField(default=0, editable=False)
    last_message_at = models.DateTimeField(default=timezone.now, editable=False)
    # When its erasure began. From then on it is hidden, and nothing is written to it.
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = ChatSessionQuerySet.as_manager()

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

    def delete_if_empty(self) -> None:
        """Delete a session that a request has created and then stored no message in."""
        if not Message.collection().find_one({"session_id": self.pk}, {"_id": 1}):
            with contextlib.suppress(NotFound):  # erased meanwhile
                self.delete()


class Message(Document):
    """A question or a reply. `seq` orders a session's messages and is never used twice.

    A reply begins as `streaming` with a lease that its worker renews. It ends in exactly one other status, by
    one conditional update (`chat.turns.replies`). `run` counts its attempts in place (`retry`), `epoch` the
    texts it has had: a new run or a restarted answer begins the next one. `attempts` lists the calls to
    providers of all runs. `settled` is False from the end of a run until ledger, usage and session counters
    are updated; None before, and for questions.
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

    # Django adds these attributes; its type stubs don't know keys that are ObjectIds.
    id: ObjectId
    session_id: ObjectId
    in_reply_to_id: ObjectId | None

    session = models.ForeignKey(ChatSession, models.CASCADE, related_name="messages", db_index=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+", db_index=False)
    seq = models.IntegerField()
    role = models.CharField(max_length=10, choices=Role)
    content = models.TextField(blank=True)
    status = models.CharField(max_length=12, choices=Status, default=Status.COMPLETE)
    metadata = models.JSONField(default=dict, blank=True)
    # Words within a final text that its index does not find by itself (core.mongo.text_search).
    search_terms = models.TextField(blank=True, default="", editable=False)

    # Of questions
    idempotency_digest = models.CharField(  # noqa: DJ001 - absent is not ""
        max_length=64, null=True, editable=False, db_column="idempotency"
    )
    fingerprint = models.CharField(max_length=64, blank=True, default="", editable=False)
    # What its request set beyond session and tenant; a retry uses the same.
    requested_options = models.JSONField(null=True, editable=False, db_column="wish")

    # Of replies
    in_reply_to = models.ForeignKey("self", models.CASCADE, null=True, related_name="+", db_index=False)
    run = models.IntegerField(default=1)
    epoch = models.IntegerField(default=1, editable=False)
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
    # What the run holds of the tenant's limits: the month it counts against, and the reservation's id.
    # Each run has its own, so that an earlier run that is settled late can't release it.
    month = models.CharField(max_length=7, blank=True, default="", editable=False)
    reservation = ObjectIdField(null=True, editable=False)
    api_key = ObjectIdField(null=True, editable=False)

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="message_by_age"),
            TextIndex(
                fields=["tenant", "content", "search_terms", "created_at"],
                text=["content", "search_terms"],
                name="message_words",
                condition=Q(status__in=list(FINAL)),
            ),
            models.Index(fields=["lease_until"], name="message_streaming", condition=Q(status="streaming")),
            models.Index(fields=["finished_at"], name="message_unsettled", condition=Q(settled=False)),
            models.Index(fields=["reservation"], name="message_reservation", condition=Q(status="streaming")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["session", "seq"], name="message_order"),
            models.UniqueConstraint(fields=["in_reply_to"], name="message_one_reply"),
            models.UniqueConstraint(
                fields=["idempotency_digest"], name="message_once", condition=Q(idempotency_digest__gt="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.seq}: {self.content[:60]}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.search_terms = inner_words(self.content)
        super().save(*args, **kwargs)

    @property
    def is_final(self) -> bool:
        return self.status != self.Status.STREAMING
