"""Webhooks, and the delivery of each event to each webhook.

    enqueue ── pending ── claim ── delivered
                  ^          │
                  └── retry ─┴── given up

A claim is a lease: it moves `due_at` past the longest time an attempt can take. Until then no other worker
sends the delivery; if the worker dies, the delivery becomes due again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db import IntegrityError, models
from django.utils import timezone
from django_mongodb_backend.fields import ArrayField, ObjectIdField
from pymongo import ReturnDocument

from core.audit.models import Actor, AuditEvent
from core.mongo.indexes import TTLIndex
from core.mongo.models import Document
from tenants.models.errors import TooManyWebhooks
from tenants.models.tenant import Tenant
from tenants.webhooks import signing_secret

MAX_WEBHOOKS = 10

#: Longer than an attempt may take, including the DNS lookup.
LEASE = timedelta(minutes=1)

#: The delay after each failed attempt. When the attempt after the last delay fails, the delivery is given up.
RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)

_KEPT_SECONDS = 30 * 24 * 3600


class Event(models.TextChoices):
    USAGE_THRESHOLD = "usage.threshold_reached"
    USAGE_UNPRICED = "usage.unpriced"
    KEY_ISSUED = "api_key.issued"
    KEY_ROTATED = "api_key.rotated"
    KEY_REVOKED = "api_key.revoked"


#: Sent on request, to one webhook.
TEST_EVENT = "webhook.test"


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A new webhook with its secret, which is not shown again."""

    webhook: Webhook
    secret: str = field(repr=False)


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def register(self, tenant: Tenant, *, by: Actor, **fields: Any) -> NewWebhook:
        """Create a webhook. Raises TooManyWebhooks."""
        secret = signing_secret.generate()

        def register() -> Webhook:
            if tenant.webhooks.count() >= MAX_WEBHOOKS:
                raise TooManyWebhooks
            webhook = self.create(tenant=tenant, sealed_secret=signing_secret.seal(secret), **fields)
            AuditEvent.objects.record(
                by, "webhook.created", webhook, tenant_id=tenant.pk, changes={"url": (None, webhook.url)}
            )
            return webhook

        return NewWebhook(tenant.serialized(register), secret)

    def enqueue_event(self, tenant: Tenant, event: Event, data: dict[str, Any], *, dedup_key: str) -> None:
        """Enqueue a delivery for every enabled webhook of `tenant` that is registered for `event`.

        `dedup_key` identifies the occurrence: with the same key nothing is enqueued again.
        """
        for webhook in self.filter(tenant=tenant, enabled=True, events=event.value):
            webhook.enqueue(event.value, data, dedup_key=dedup_key)


class Webhook(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="webhooks", db_index=False)
    tenant_id: ObjectId
    url = models.CharField(max_length=500)
    events = ArrayField(models.CharField(max_length=40, choices=Event.choices), default=list)
    enabled = models.BooleanField(default=True)
    sealed_secret = models.CharField(max_length=300, editable=False)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="webhook_newest"),)

    def __str__(self) -> str:
        return self.url

    @property
    def latest_deliveries(self) -> list[WebhookDelivery]:
        return list(self.deliveries.all()[:20])

    @property
    def secret(self) -> str:
        return signing_secret.unseal(self.sealed_secret)

    def change(self, by: Actor, **values: Any) -> None:
        """Set the given fields and record those that differ. Raises as `update` does."""
        if changes := self.update(**values):
            AuditEvent.objects.record(by, "webhook.changed", self, tenant_id=self.tenant_id, changes=changes)

    def remove(self, by: Actor) -> None:
        """Delete the webhook with its deliveries. A running attempt is not aborted.

        Raises NotFound if it was deleted before, PreconditionFailed if it is pinned and was changed.
        """

        def remove() -> None:
            self.reread()
            AuditEvent.objects.record(by, "webhook.deleted", self, tenant_id=self.tenant_id)
            Webhook.objects.filter(pk=self.pk).delete()

        self.tenant.serialized(remove)
        # Not in the transaction, which does not see what others enqueue meanwhile. If this process dies
        # before, the deliveries are given up when they are due.
        self.deliveries.all().delete()

    def enqueue(self, event: str, data: dict[str, Any], *, dedup_key: str) -> WebhookDelivery | None:
        """Enqueue one delivery; None if the webhook has one with this `dedup_key` already, or was deleted."""
        now = timezone.now()
        body = {"type": event, "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}", "data": data}
        delivery = WebhookDelivery(
            webhook=self,
            tenant_id=self.tenant_id,
            event=event,
            dedup_key=dedup_key,
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
            due_at=now,
        )
        try:
            delivery.save()
        except IntegrityError:
            return None
        # Read after the insert: a deletion that comes later finds the delivery.
        if not Webhook.objects.filter(pk=self.pk).exists():
            WebhookDelivery.objects.filter(pk=delivery.pk).delete()
            return None
        return delivery


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def due_tenants(self) -> list[ObjectId]:
        """Return the tenants with deliveries that are due."""
        return [each for each in self.model.collection().distinct("tenant_id", _due(timezone.now())) if each]

    def claim(
        self,
        now: datetime | None = None,
        *,
        tenant_id: ObjectId | None = None,
        except_to: Iterable[ObjectId] = (),
    ) -> WebhookDelivery | None:
        """Claim the delivery that has been due longest and return it; None if none is due.

        With `tenant_id` only one of that tenant, and none to the webhooks `except_to`.
        """
        now = now or timezone.now()
        own: dict[str, Any] = {} if tenant_id is None else {"tenant_id": tenant_id}
        if excluded := list(except_to):
            own["webhook_id"] = {"$nin": excluded}
        raw = self.model.collection().find_one_and_update(
            {**_due(now), **own},
            {
                "$set": {"due_at": now + LEASE, "claim": ObjectId(), "updated_at": now},
                "$inc": {"attempts": 1},
            },
            sort=[("due_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return self.model.from_document(raw) if raw else None


def _due(now: datetime) -> dict[str, Any]:
    return {"status": WebhookDelivery.Status.PENDING.value, "due_at": {"$lte": now}}


class WebhookDelivery(Document):
    """One event for one webhook. Every attempt signs and sends the same `body`."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        GIVEN_UP = "given_up", "given up"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    tenant_id: ObjectId
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    webhook_id: ObjectId
    event = models.CharField(max_length=40)
    dedup_key = models.CharField(max_length=120, editable=False, db_column="once")
    body = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    attempts = models.IntegerField(default=0)
    due_at = models.DateTimeField()
    claim = ObjectIdField(null=True, editable=False)
    response_status = models.IntegerField(null=True)
    problem = models.CharField(max_length=200, blank=True, default="")
    finished_at = models.DateTimeField(null=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name_plural = "webhook deliveries"
        constraints = (models.UniqueConstraint(fields=["webhook", "dedup_key"], name="delivery_once"),)
        indexes = (
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(status="pending")),
            models.Index(
                fields=["tenant", "due_at"],
                name="delivery_due_tenant",
                condition=models.Q(status="pending"),
            ),
            models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_newest"),
            TTLIndex(fields=["finished_at"], name="delivery_ttl", expire_after_seconds=_KEPT_SECONDS),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.status}"

    @property
    def message_id(self) -> str:
        """The same for every attempt: receivers recognise repeated deliveries by it."""
        return f"msg_{self.pk}"

    def succeeded(self, response_status: int) -> bool:
        """Record success; False if the claim was lost meanwhile."""
        return self._end_attempt(
            status=self.Status.DELIVERED.value,
            response_status=response_status,
            problem="",
            finished_at=timezone.now(),
        )

    def failed(self, problem: str, response_status: int | None = None) -> bool:
        """Schedule the next attempt, or give up after the last; False if the claim was lost meanwhile."""
        if self.attempts > len(RETRY_DELAYS):
            return self.give_up(problem, response_status)
        return self._end_attempt(
            problem=problem[:200],
            response_status=response_status,
            due_at=timezone.now() + RETRY_DELAYS[self.attempts - 1],
        )

    def give_up(self, problem: str, response_status: int | None = None) -> bool:
        """Stop trying; False if the claim was lost meanwhile."""
        return self._end_attempt(
            status=self.Status.GIVEN_UP.value,
            problem=problem[:200],
            response_status=response_status,
            finished_at=timezone.now(),
        )

    def _end_attempt(self, **fields: Any) -> bool:
        claimed = {"_id": self.pk, "claim": self.claim, "status": self.Status.PENDING.value}
        changes = {"$set": {**fields, "claim": None, "updated_at": timezone.now()}}
        return self.collection().update_one(claimed, changes).modified_count == 1
