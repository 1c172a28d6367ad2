"""API keys: credentials of a tenant's servers (secret keys) and pages (public keys)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any

from bson import ObjectId
from django.db import models
from django.utils import timezone
from django_mongodb_backend.fields import ArrayField
from pymongo import WriteConcern

from accounts.models import User
from core.audit.models import Actor, AuditEvent, Changes
from core.mongo.models import Document
from llm.canonical import Target
from llm.route import MAX_TARGET_LENGTH, default_targets
from tenants.models import key_secret
from tenants.models.errors import KeyReplaced, PlanLimit
from tenants.models.origins import is_localhost, origin_is_allowed
from tenants.models.tenant import Tenant, lookup_tenant, tenant_of
from tenants.webhooks.models import Event, Webhook


class Scope(models.TextChoices):
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    MESSAGES_SEND = "messages:send"
    ANALYTICS_READ = "analytics:read"
    USAGE_READ = "usage:read"


#: The last use of a key is recorded at most once in this time.
_USE_INTERVAL = timedelta(minutes=1)

#: Usable keys of a tenant, whatever its plan, and those kept that are revoked or expired.
MAX_KEYS = 1000
MAX_ENDED_KEYS = 200

_UNACKNOWLEDGED = WriteConcern(w=0)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which is not stored."""

    key: ApiKey
    secret: str = field(repr=False)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        """Keys that are neither revoked nor expired."""
        return self.filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now()), revoked_at=None
        )

    def issue(self, tenant: Tenant, *, by: Actor, **fields: Any) -> IssuedKey:
        """Create a key. Raises PlanLimit when the plan allows no more."""

        def issue() -> IssuedKey:
            planned = tenant.plan.max_api_keys
            limit = MAX_KEYS if planned is None else min(planned, MAX_KEYS)
            # A rotated key does not count beside its successor.
            if tenant.api_keys.usable().filter(replaced_by=None).count() >= limit:
                raise PlanLimit("API keys", limit)
            self.delete_oldest_ended(tenant)
            issued = self.generate(tenant, created_by_id=by.user_id, **fields)
            issued.key.record(by, Event.KEY_ISSUED)
            return issued

        return tenant.serialized(issue)

    def delete_oldest_ended(self, tenant: Tenant) -> None:
        """Keep the newest of the revoked and expired keys; the audit trail keeps the events of all."""
        # Whole keys: a query for some of their columns would sort in memory.
        ended = [key.pk for key in tenant.api_keys.all() if not key.is_usable]
        if oldest := ended[MAX_ENDED_KEYS - 1 :]:
            self.filter(pk__in=oldest).delete()

    def generate(self, tenant: Tenant, *, kind: str, environment: str, **fields: Any) -> IssuedKey:
        """Create a key without checking the plan and without recording it."""
        secret = key_secret.generate(kind, environment)
        key = self.create(
            tenant=tenant,
            kind=kind,
            environment=environment,
            prefix=key_secret.prefix_of(secret),
            last_four=secret[-4:],
            digest=key_secret.digest_of(secret),
            **fields,
        )
        return IssuedKey(key, secret)

    def find_by_secret(self, secret: str) -> ApiKey | None:
        """Return the key of `secret` with its tenant and plan loaded, in one round trip at most.

        None for an unknown key and for one of a deleted tenant. The caller must check `is_usable`.
        """
        if not key_secret.is_well_formed(secret):
            return None
        digest = key_secret.digest_of(secret)
        stages = [{"$match": {"prefix": key_secret.prefix_of(secret)}}, *lookup_tenant("tenant_id")]
        found = list(self.model.collection().aggregate(stages))
        if not found or not hmac.compare_digest(found[0]["digest"], digest):
            return None
        key = self.model.from_document(found[0])
        key.tenant = tenant_of(found[0])
        return key


class ApiKey(Document):
    class Kind(models.TextChoices):
        SECRET = "sk", "secret (servers)"
        PUBLIC = "pk", "public (browsers)"

    class Environment(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys", db_index=False)
    tenant_id: ObjectId
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=2, choices=Kind.choices)
    environment = models.CharField(max_length=4, choices=Environment.choices, default=Environment.LIVE)
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=40, choices=Scope.choices), default=list, blank=True)
    allowed_origins = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    allowed_networks = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    allowed_models = ArrayField(models.CharField(max_length=MAX_TARGET_LENGTH), default=list, blank=True)
    allow_browser = models.BooleanField(
        default=False,
        help_text="Whether a secret key is accepted from browsers and desktop apps, whose requests have an "
        "Origin. Who can open the page or the app can read the key.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    replaced_by = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        editable=False,
    )
    replaced_by_id: ObjectId | None
    created_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        editable=False,
    )
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_address = models.CharField(max_length=45, blank=True, default="", editable=False)
    last_used_origin = models.CharField(max_length=300, blank=True, default="", editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name = "API key"
        indexes = (
            models.Index(fields=["tenant", "-created_at", "-id"], name="api_key_newest"),
            models.Index(fields=["allowed_origins"], name="api_key_origins"),
            models.Index(fields=["allow_browser"], name="api_key_browser"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…{self.last_four})"

    @property
    def is_public(self) -> bool:
        return self.kind == self.Kind.PUBLIC

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of `origin` may use this public key: by its own list, if any, else the tenant's.

        Test keys also work on localhost.
        """
        if self.environment == self.Environment.TEST and is_localhost(origin):
            return True
        return origin_is_allowed(origin, self.allowed_origins or self.tenant.allowed_origins)

    def accepts_origin(self, origin: str) -> bool:
        """Whether a request with this Origin may use the key; "" is a request without one.

        A secret key accepts none, unless it allows browsers: then those of its own list, or any.
        """
        if self.is_public:
            return self.allows_origin(origin)
        if not origin:
            return True
        return bool(self.allow_browser) and (
            not self.allowed_origins or origin_is_allowed(origin, self.allowed_origins)
        )

    def allows_address(self, address: str) -> bool:
        """Whether the key may be used from `address`. Without a list of networks it may from any."""
        if not self.allowed_networks:
            return True
        return bool(address) and any(
            ip_address(address) in ip_network(network) for network in self.allowed_networks
        )

    def allows_visitor(self, address: str, origin: str) -> bool:
        """Whether the tokens of this key's visitors are valid at `address` and `origin`.

        Visitors of a site's server call from anywhere: the key's networks are those of the server. Without
        an origin they are no pages.
        """
        if self.is_public:
            return self.allows_address(address) and self.allows_origin(origin)
        return not origin or self.allows_origin(origin)

    def allows_target(self, target: Target) -> bool:
        """Whether the key may use this model; a provider alone in its list is its default model."""
        if not self.allowed_models:
            return True
        if str(target) in self.allowed_models:
            return True
        return target.provider in self.allowed_models and target in default_targets([target.provider])

    def revoke(self, by: Actor) -> None:
        """Revoke the key for good; it is refused from the next request on."""
        if not ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now()):
            return
        self.record(by, Event.KEY_REVOKED)

    def rotate(self, *, overlap: timedelta, by: Actor) -> IssuedKey:
        """Return a successor with the same permissions; this key stays valid for `overlap`.

        Raises KeyReplaced for a key that has a successor already, is revoked or has expired.
        """

        def rotate() -> IssuedKey:
            if not ApiKey.objects.usable().filter(pk=self.pk, replaced_by=None).exists():
                raise KeyReplaced
            ApiKey.objects.delete_oldest_ended(self.tenant)
            issued = ApiKey.objects.generate(
                self.tenant,
                created_by_id=by.user_id,
                **{field: getattr(self, field) for field in _COPIED_BY_ROTATION},
            )
            self.expires_at = min(filter(None, [self.expires_at, timezone.now() + overlap]))
            self.replaced_by = issued.key
            self.save(update_fields=["expires_at", "replaced_by", "updated_at"])
            changes = {"replaced_by": (None, issued.key), "expires_at": (None, self.expires_at)}
            self.record(by, Event.KEY_ROTATED, changes)
            return issued

        return self.tenant.serialized(rotate)

    def record(self, by: Actor, event: Event, changes: Changes | None = None) -> None:
        """Record the event in the audit trail and enqueue it for the tenant's webhooks."""
        entry = AuditEvent.objects.record(by, event.value, self, tenant_id=self.tenant_id, changes=changes)
        summary = {"id": str(self.pk), "name": self.name, "prefix": self.prefix, "last_four": self.last_four}
        Webhook.objects.enqueue_event(
            self.tenant, event, {"api_key": summary, "actor": by.name}, dedup_key=f"audit:{entry.pk}"
        )

    def record_use(self, address: str, origin: str, now: datetime | None = None) -> None:
        """Record when and from where the key was used, at most once a minute.

        Does not wait for the database: a lost update does no harm, waiting would delay each request.
        """
        now = now or timezone.now()
        if self.last_used_at is not None and now - self.last_used_at < _USE_INTERVAL:
            return
        self.collection().with_options(write_concern=_UNACKNOWLEDGED).update_one(
            {"_id": self.pk},
            {"$set": {"last_used_at": now, "last_used_address": address, "last_used_origin": origin[:300]}},
        )


_COPIED_BY_ROTATION = (
    "name",
    "kind",
    "environment",
    "scopes",
    "allowed_origins",
    "allowed_networks",
    "allowed_models",
    "allow_browser",
)
