"""A secret by which a site acts for its tenant."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ArrayField

from accounts.models import User
from config.mongo.models import Document
from tenants.models.tenant import Tenant


class ApiKey(Document):
    class Kind(models.TextChoices):
        SECRET = "sk", "secret (servers)"
        PUBLIC = "pk", "public (browsers)"

    class Environment(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys", db_index=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=2, choices=Kind.choices)
    environment = models.CharField(max_length=4, choices=Environment.choices, default=Environment.LIVE)
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    last_four = models.CharField(max_length=4, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    allowed_origins = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    allowed_networks = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    allowed_models = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_address = models.CharField(max_length=45, blank=True, default="", editable=False)
    last_used_origin = models.CharField(max_length=300, blank=True, default="", editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name = "API key"
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="api_key_newest"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…{self.last_four})"
