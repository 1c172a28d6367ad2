"""Who did what to which object, when and from where. Events are written once and never changed.

Tenants and users are known here by their ids only, so that every app can record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from django.db import models
from django_mongodb_backend.fields import ObjectIdField

from core.mongo.append_only import AppendOnly, AppendOnlyQuerySet
from core.mongo.models import Document

#: {field: (before, after)}
Changes = Mapping[str, tuple[Any, Any]]

_MAX_VALUE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request comes from. `network` is what denials are counted by: see core.audit.denials."""

    address: str = ""
    network: str = ""
    user_agent: str = ""
    request_id: str = ""


#: Commands and background work come from no address.
NO_SOURCE = Source()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where. `name` is the e-mail address or key prefix at that time.

    The actor of a request is `core.api.actors.actor_of(request)`.
    """

    name: str
    user_id: ObjectId | None = None
    key_id: ObjectId | None = None
    source: Source = NO_SOURCE


#: Commands and background work.
SYSTEM = Actor("system")


class AuditEventQuerySet(AppendOnlyQuerySet["AuditEvent"]):
    def of_tenant(self, tenant_id: ObjectId) -> AuditEventQuerySet:
        return self.filter(tenant_id=tenant_id)

    def record(
        self,
        actor: Actor,
        action: str,
        target: models.Model,
        *,
        tenant_id: ObjectId | None = None,
        changes: Changes | None = None,
        **denial: str,
    ) -> AuditEvent:
        """Add "`actor` did `action` to `target`".

        `action` is `<object>.<past participle>`. `changes` never holds a secret. `tenant_id` is None for
        what concerns a user account alone. `denial` is `reason`, `asked` and `dedup_key`: core.audit.denials.
        """
        event: AuditEvent = self.create(
            tenant_id=tenant_id,
            action=action,
            actor_id=actor.user_id,
            actor_key=actor.key_id,
            actor_name=actor.name,
            target_type=target._meta.model_name or "",
            target_id=str(target.pk or ""),
            target_name=str(target)[:254],
            changes={
                field: [_as_json(before), _as_json(after)]
                for field, (before, after) in (changes or {}).items()
            },
            address=actor.source.address,
            user_agent=actor.source.user_agent,
            request_id=actor.source.request_id,
            **denial,
        )
        return event


def _as_json(value: Any) -> Any:
    """Return `value` as JSON can hold it, long text truncated."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    text = str(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"


class AuditEvent(AppendOnly, Document):
    """`tenant_id` is None for what concerns a user account alone. `reason` and `asked` belong to denials.

    Deleting what an event refers to neither changes nor deletes the event.
    """

    tenant_id = ObjectIdField(null=True)
    action = models.CharField(max_length=60)
    reason = models.CharField(max_length=60, blank=True, default="")
    actor_id = ObjectIdField(null=True)
    actor_key = ObjectIdField(null=True)
    actor_name = models.CharField(
        max_length=254, blank=True, default="", help_text="E-mail address or key prefix at that time."
    )
    target_type = models.CharField(max_length=40)
    target_id = models.CharField(max_length=40)
    target_name = models.CharField(max_length=254, blank=True, default="")
    changes = models.JSONField(default=dict)
    asked = models.CharField(
        max_length=200, blank=True, default="", help_text="Method and route of a denied request."
    )
    address = models.CharField(max_length=45, blank=True, default="")
    user_agent = models.CharField(max_length=300, blank=True, default="")
    request_id = models.CharField(max_length=128, blank=True, default="")
    #: Denials with the same key are recorded once; None for all other events, which may repeat.
    dedup_key = models.CharField(
        max_length=64, null=True, blank=True, unique=True, editable=False, db_column="once"
    )

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        db_table = "tenants_auditevent"
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["tenant_id", "-created_at", "-id"], name="audit_newest"),
            models.Index(fields=["tenant_id", "action", "-created_at", "-id"], name="audit_action_newest"),
            models.Index(fields=["-created_at", "-id"], name="audit_all_newest"),
        )

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target_name}".strip()
