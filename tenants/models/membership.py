"""Which user may do what in which tenant."""

from __future__ import annotations

from django.db import models

from accounts.models import User
from config.mongo.models import Document
from tenants.models.tenant import Tenant


class Role(models.TextChoices):
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class Membership(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    role = models.CharField(max_length=10, choices=Role.choices)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (models.UniqueConstraint(fields=["user", "tenant"], name="one_membership_a_user"),)
        indexes = (models.Index(fields=["tenant", "-created_at", "-id"], name="membership_newest"),)

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.tenant_id}"
