"""A client website or project: the owner of keys, sessions, limits and money."""

from __future__ import annotations

from bson import ObjectId
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django_mongodb_backend.fields import ArrayField

from config.mongo.models import Document
from tenants.models.plan import Plan


class TenantQuerySet(models.QuerySet):
    def present(self) -> TenantQuerySet:
        """Those not deleted."""
        return self.filter(deleted_at=None)


class Tenant(Document):
    """Settings that are None or empty fall back to the plan, then to the product's default."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    domain = models.CharField(max_length=253, blank=True, default="")
    allowed_origins = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    requested_plan = models.ForeignKey(
        Plan, on_delete=models.SET_NULL, null=True, blank=True, related_name="requests"
    )
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.ACTIVE)
    deleted_at = models.DateTimeField(null=True, blank=True)
    revision = models.IntegerField(
        default=0, editable=False, help_text="Counts changes of members and keys; makes them take turns."
    )

    system_prompt = models.TextField(max_length=20_000, blank=True, default="")
    route = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    temperature = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(2)]
    )
    max_tokens = models.IntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    history_messages = models.IntegerField(
        null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(1000)]
    )
    retention_days = models.IntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(3650)]
    )

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["-created_at", "-id"], name="tenant_newest"),
            models.Index(fields=["deleted_at"], name="tenant_deleted"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_suspended(self) -> bool:
        return self.status == self.Status.SUSPENDED


def object_id(text: object) -> ObjectId | None:
    """Return the id that `text` spells in 24 hex digits, or None."""
    if isinstance(text, ObjectId):
        return text
    return ObjectId(text) if isinstance(text, str) and ObjectId.is_valid(text) else None
