"""Who did what to which object, when and from where. Written once, never changed."""

from __future__ import annotations

from django.db import models
from django_mongodb_backend.fields import ObjectIdField

from accounts.models import User
from config.mongo.models import Document
from tenants.models.tenant import Tenant


class AuditEvent(Document):
    """`tenant` is None for what concerns a person alone, such as a login."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, null=True, related_name="audit_events", db_index=False
    )
    action = models.CharField(max_length=60)
    actor = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    actor_key = ObjectIdField(null=True)
    actor_name = models.CharField(
        max_length=254, blank=True, default="", help_text="E-mail address or key prefix at that time."
    )
    target_type = models.CharField(max_length=40)
    target_id = models.CharField(max_length=40)
    target_name = models.CharField(max_length=254, blank=True, default="")
    changes = models.JSONField(default=dict)
    address = models.CharField(max_length=45, blank=True, default="")
    user_agent = models.CharField(max_length=300, blank=True, default="")
    request_id = models.CharField(max_length=128, blank=True, default="")

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["tenant", "-created_at", "-id"], name="audit_newest"),
            models.Index(fields=["-created_at", "-id"], name="audit_all_newest"),
        )

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target_name}".strip()
