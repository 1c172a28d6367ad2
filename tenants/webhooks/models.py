"""Where a tenant wants to be told of events, and each telling until it is done.

    announce ── pending ── claim ── delivered
                   ^          │
                   └── retry ─┴── given up

A claim is a lease: it moves `due_at` behind the time a sending can take. While it holds nobody else
sends; if its worker dies, the delivery falls due again by itself.
"""

from __future__ import annotations

import json
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

MOST_WEBHOOKS = 10

#: Longer than a sending may take, looking up the host included.
LEASE = timedelta(minutes=1)

#: How long after each failure it is tried again; after the last one it is given up.
RETRIES = (
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


#: Sent only when asked for, to one webhook.
TEST_EVENT = "webhook.test"


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A new webhook with its secret, which nothing shows again."""

    webhook: Webhook
    secret: str = field(repr=False)


class WebhookQuerySet(models.QuerySet):
    def register(self, tenant: Tenant, *, by: Actor, **fields: Any) -> NewWebhook:
        """Return a new webhook. Raises TooManyWebhooks."""
        secret = signing_secret.generate()

        def register() -> Webhook:
            if tenant.webhooks.count() >= MOST_WEBHOOKS:
                raise TooManyWebhooks
            webhook = self.create(tenant=tenant, sealed_secret=signing_secret.seal(secret), **fields)
            AuditEvent.objects.record(
                by, "webhook.created", webhook, tenant_id=tenant.pk, changes={"url": (None, webhook.url)}
            )
            return webhook

        return NewWebhook(tenant.in_turn(register), secret)

    def announce(self, tenant: Tenant, event: Event, data: dict[str, Any], *, once: str) -> None:
        """Have every webhook of `tenant` that asks for `event` be told of it.

        `once` names this very happening: announced again it is not told again.
        """
        for webhook in self.filter(tenant=tenant, enabled=True, events=event.value):
            webhook.tell(event.value, data, once=once)


class Webhook(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="webhooks", db_index=False)
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
        """Set the fields given and record which of them differ."""
        changes = {
            name: (getattr(self, name), value)
            for name, value in values.items()
            if getattr(self, name) != value
        }
        if not changes:
            return
        for name, value in values.items():
            setattr(self, name, value)
        self.save(update_fields=[*changes, "updated_at"])
        AuditEvent.objects.record(by, "webhook.changed", self, tenant_id=self.tenant_id, changes=changes)

    def remove(self, by: Actor) -> None:
        """Delete the webhook with its deliveries. A sending that runs is not called back."""
        AuditEvent.objects.record(by, "webhook.deleted", self, tenant_id=self.tenant_id)
        self.deliveries.all().delete()
        self.delete()

    def tell(self, event: str, data: dict[str, Any], *, once: str) -> WebhookDelivery | None:
        """Queue one delivery; None if `once` is queued or told already."""
        now = timezone.now()
        body = {"type": event, "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}", "data": data}
        delivery = WebhookDelivery(
            webhook=self,
            tenant_id=self.tenant_id,
            event=event,
            once=once,
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
            due_at=now,
        )
        try:
            delivery.save(force_insert=True)
        except IntegrityError:
            return None
        return delivery


class WebhookDeliveryQuerySet(models.QuerySet):
    def claim(self, now: datetime | None = None) -> WebhookDelivery | None:
        """Return the delivery that has been due longest, for this caller alone; None if none is due."""
        now = now or timezone.now()
        raw = self.model.collection().find_one_and_update(
            {"status": WebhookDelivery.Status.PENDING.value, "due_at": {"$lte": now}},
            {
                "$set": {"due_at": now + LEASE, "claim": ObjectId(), "updated_at": now},
                "$inc": {"attempts": 1},
            },
            sort=[("due_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return raw and self.model.from_document(raw)


class WebhookDelivery(Document):
    """One event for one webhook. `body` is signed and sent as it stands, the same at every attempt."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        GIVEN_UP = "given_up", "given up"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=40)
    once = models.CharField(max_length=120, editable=False)
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
        constraints = (models.UniqueConstraint(fields=["webhook", "once"], name="delivery_once"),)
        indexes = (
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(status="pending")),
            models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_newest"),
            TTLIndex(fields=["finished_at"], name="delivery_ttl", expire_after_seconds=_KEPT_SECONDS),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.status}"

    @property
    def message_id(self) -> str:
        """The same at every attempt: by it a receiver tells a repetition."""
        return f"msg_{self.pk}"

    def succeeded(self, response_status: int) -> bool:
        """Note the end; False if the claim was lost meanwhile."""
        return self._conclude(
            status=self.Status.DELIVERED.value,
            response_status=response_status,
            problem="",
            finished_at=timezone.now(),
        )

    def failed(self, problem: str, response_status: int | None = None) -> bool:
        """Have it tried again later, or give it up; False if the claim was lost meanwhile."""
        if self.attempts > len(RETRIES):
            return self.give_up(problem, response_status)
        return self._conclude(
            problem=problem[:200],
            response_status=response_status,
            due_at=timezone.now() + RETRIES[self.attempts - 1],
        )

    def give_up(self, problem: str, response_status: int | None = None) -> bool:
        return self._conclude(
            status=self.Status.GIVEN_UP.value,
            problem=problem[:200],
            response_status=response_status,
            finished_at=timezone.now(),
        )

    def _conclude(self, **fields: Any) -> bool:
        mine = {"_id": self.pk, "claim": self.claim, "status": self.Status.PENDING.value}
        changes = {"$set": {**fields, "claim": None, "updated_at": timezone.now()}}
        return self.collection().update_one(mine, changes).modified_count == 1
