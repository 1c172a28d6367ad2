"""A tenant is one client website or project. It owns API keys, sessions, a plan and its usage."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from bson import ObjectId
from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import IntegrityError, models
from django.utils import timezone
from django.utils.text import slugify
from django_mongodb_backend.fields import ArrayField

from accounts.models import User
from core.audit.models import Actor, AuditEvent
from core.errors import NotFound, Unavailable
from core.mongo.models import Document
from core.mongo.transactions import in_transaction
from llm.route import MAX_TARGET_LENGTH
from tenants.billing.limits import CountersBusy, month_start
from tenants.billing.plan import Plan
from tenants.models.errors import PlanLimit

logger = logging.getLogger(__name__)

#: How long staff can restore a deleted tenant.
RESTORE_PERIOD = timedelta(days=30)

#: The longest answer that can be asked for, in tokens: no model gives a longer one.
MAX_TOKENS = 1_000_000

_SLUG_LENGTH = 60

Result = TypeVar("Result")


class VisitorField(models.TextChoices):
    """What a browser credential, a public key or a visitor's token, may set if the tenant allows it."""

    SYSTEM_PROMPT = "system_prompt"
    ROUTE = "route"
    PROVIDER = "provider"
    MODEL = "model"
    TEMPERATURE = "temperature"
    MAX_TOKENS = "max_tokens"
    METADATA = "metadata"
    CONCURRENT = "concurrent"


class TenantQuerySet(models.QuerySet["Tenant"]):
    def present(self) -> TenantQuerySet:
        """Tenants that are not deleted."""
        return self.filter(deleted_at=None)

    def visible_to(self, user: User) -> TenantQuerySet:
        """Tenants that `user` is a member of."""
        tenant_ids = user.memberships.order_by().values_list("tenant_id", flat=True)
        return self.present().filter(pk__in=list(tenant_ids))

    def purgeable(self) -> TenantQuerySet:
        """Tenants deleted too long ago to be restored."""
        return self.filter(deleted_at__lte=timezone.now() - RESTORE_PERIOD)

    def delete(self) -> NoReturn:
        raise _not_deleted(self)

    def create_with_admin(self, *, name: str, plan: Plan | None = None, by: Actor, **fields: Any) -> Tenant:
        """Return a new tenant on `plan`, by default DEFAULT_PLAN, with the user of `by` as its admin."""
        plan = plan or _default_plan()
        stem = slug = slugify(name)[: _SLUG_LENGTH - 9].strip("-") or "tenant"
        owner = User.objects.filter(pk=by.user_id)

        def create() -> Tenant:
            if by.user_id:
                self._require_room_for_owner(plan, by.user_id)
            tenant = Tenant(name=name, plan=plan, slug=slug, owner_id=by.user_id, **fields)
            tenant.save(force_insert=True)
            if by.user_id:
                tenant.memberships.create(user_id=by.user_id, role="admin")
            return tenant

        while True:
            try:
                tenant = serialized(owner, create) if by.user_id else create()
            except IntegrityError:
                if not self.filter(slug=slug).exists():
                    raise
                slug = f"{stem}-{secrets.token_hex(4)}"
            else:
                break
        AuditEvent.objects.record(by, "tenant.created", tenant, tenant_id=tenant.pk)
        return tenant

    def _require_room_for_owner(self, plan: Plan, owner_id: ObjectId) -> None:
        """Raise PlanLimit if the owner has as many tenants on the plan as one may have.

        Those deleted this month count: they may have used the limits of this month.
        """
        limit = plan.tenants_per_owner
        if limit is None:
            return
        usable = models.Q(deleted_at=None) | models.Q(deleted_at__gte=month_start(timezone.now()))
        if self.filter(usable, owner=owner_id, plan=plan).count() >= limit:
            raise PlanLimit("tenants of one owner, with those deleted this month", limit)


class Tenant(Document):
    """Settings that are None or empty fall back to the plan, then to the product's default."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=_SLUG_LENGTH, unique=True, editable=False)
    domain = models.CharField(max_length=253, blank=True, default="")
    allowed_origins = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    owner = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="owned_tenants",
        db_index=False,
        editable=False,
        help_text="Who created it: the plan limits its tenants by owner.",
    )
    requested_plan = models.ForeignKey(
        Plan, on_delete=models.SET_NULL, null=True, blank=True, related_name="requests"
    )
    requested_plan_id: ObjectId | None
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    revision = models.IntegerField(
        default=0,
        editable=False,
        help_text="Number of serialized changes of members, keys and webhooks.",
    )

    system_prompt = models.TextField(max_length=20_000, blank=True, default="")
    route = ArrayField(
        models.CharField(max_length=MAX_TARGET_LENGTH),
        default=list,
        blank=True,
        help_text="provider or provider/model, in the order in which they are tried.",
    )
    temperature = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(2)]
    )
    max_tokens = models.IntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(MAX_TOKENS)]
    )
    history_messages = models.IntegerField(
        null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(1000)]
    )
    retention_days = models.IntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(3650)]
    )
    visitor_fields = ArrayField(
        models.CharField(max_length=20, choices=VisitorField.choices),
        default=list,
        blank=True,
        help_text="What pages and their visitors may set by themselves, beside their words.",
    )

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["-created_at", "-id"], name="tenant_newest"),
            models.Index(fields=["deleted_at"], name="tenant_deleted"),
            models.Index(fields=["owner"], name="tenant_owner"),
            models.Index(fields=["allowed_origins"], name="tenant_origins"),
        )

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _not_deleted([self])

    @property
    def is_suspended(self) -> bool:
        return self.status == self.Status.SUSPENDED

    def was_deleted(self) -> bool:
        """Whether the tenant has been deleted since it was read."""
        return not Tenant.objects.present().filter(pk=self.pk).exists()

    def serialized(self, change: Callable[[], Result]) -> Result:
        """Return `change()`, run in a transaction that is serialized with all others of this tenant.

        What `change` counts (keys, members, admins) is therefore still true when it writes, and nothing is
        created in a tenant that is deleted at that moment. It may run more than once, so it must have no
        effect outside the database.
        Raises NotFound for a deleted tenant, CountersBusy after too many conflicts.
        """
        return serialized(Tenant.objects.present().filter(pk=self.pk), change)

    def change(self, by: Actor, action: str = "tenant.updated", **values: Any) -> None:
        """Set the given fields and record those that differ. Raises as `update` does."""
        self._change_by(by, action, lambda: values)

    def _change_by(self, by: Actor, action: str, values_now: Callable[[], Mapping[str, Any]]) -> None:
        if changes := self.update_by(values_now):
            AuditEvent.objects.record(by, action, self, tenant_id=self.pk, changes=changes)

    def soft_delete(self, by: Actor) -> None:
        """Hide the tenant from all its users and keys at once; staff can restore it for `RESTORE_PERIOD`."""
        self.change(by, "tenant.deleted", deleted_at=timezone.now())

    def restore(self, by: Actor) -> None:
        self.change(by, "tenant.restored", deleted_at=None)

    def suspend(self, by: Actor) -> None:
        """Refuse every member and key from the next request on."""
        self.change(by, "tenant.suspended", status=self.Status.SUSPENDED)

    def resume(self, by: Actor) -> None:
        self.change(by, "tenant.resumed", status=self.Status.ACTIVE)

    def change_plan(self, plan: Plan, by: Actor) -> None:
        """Change the plan; the new limits apply from the next request on.

        The request for a plan is answered by it, unless another one was made since this tenant was read.
        """
        asked = self.requested_plan_id

        def values() -> dict[str, Any]:
            answered = {"requested_plan": None} if self.requested_plan_id == asked else {}
            return {"plan": plan, **answered}

        self._change_by(by, "tenant.plan_changed", values)


def serialized(this: models.QuerySet[Any], change: Callable[[], Result]) -> Result:
    """Return `change()`, run in a transaction serialized with all others on the document of `this`.

    Raises NotFound if there is none, CountersBusy after too many conflicts.
    """

    def alone() -> Result:
        # Of parallel transactions the second to write this document fails and is repeated.
        if not this.update(revision=models.F("revision") + 1):
            raise NotFound
        return change()

    return in_transaction(alone, too_busy=CountersBusy)


def _default_plan() -> Plan:
    """Raises Unavailable if the plan that the settings name does not exist."""
    plan = Plan.objects.filter(code=settings.DEFAULT_PLAN).first()
    if plan is None:
        logger.error("DEFAULT_PLAN names no plan", extra={"plan": settings.DEFAULT_PLAN})
        raise Unavailable("Tenants can't be created right now.", "no_default_plan", retry_after_seconds=60)
    return plan


def lookup_tenant(column: str) -> list[dict[str, Any]]:
    """Return aggregation stages that join `tenant` and `plan` to documents with a tenant id in `column`.

    Documents of deleted tenants are left out.
    """

    def join(model: type[Document], local: str, name: str) -> list[dict[str, Any]]:
        look_up = {"from": model._meta.db_table, "localField": local, "foreignField": "_id", "as": name}
        return [{"$lookup": look_up}, {"$unwind": f"${name}"}]

    return [
        *join(Tenant, column, "tenant"),
        {"$match": {"tenant.deleted_at": None}},
        *join(Plan, "tenant.plan_id", "plan"),
    ]


def tenant_of(raw: Mapping[str, Any]) -> Tenant:
    """Return the tenant, with its plan loaded, from a document that `lookup_tenant` joined."""
    tenant = Tenant.from_document(raw["tenant"])
    tenant.plan = Plan.from_document(raw["plan"])
    return tenant


def _not_deleted(tenants: Iterable[Tenant]) -> models.ProtectedError:
    """The audit trail knows tenants by id only, so no foreign key protects a tenant that has one."""
    return models.ProtectedError("Tenants are deleted softly and purged later.", set(tenants))
