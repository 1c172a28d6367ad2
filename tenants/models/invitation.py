"""An offer of membership, sent to an e-mail address and taken up once."""

from __future__ import annotations

from django.db import models

from accounts.models import User
from config.mongo.models import Document
from tenants.models.membership import Role
from tenants.models.tenant import Tenant


class Invitation(Document):
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations", db_index=False)
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=Role.choices)
    digest = models.CharField(max_length=64, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["digest"], name="invitation_digest"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="invitation_newest"),
        )

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"
