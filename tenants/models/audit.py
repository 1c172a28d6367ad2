"""Who did what to which object, when and from where. Written once, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from bson import ObjectId
from django.db import models
from django.http import HttpRequest
from django_mongodb_backend.fields import ObjectIdField

from accounts.models import User
from core.api.addresses import client_address, client_network
from core.mongo.append_only import AppendOnly, AppendOnlyQuerySet
from core.mongo.models import Document

_LONGEST_VALUE = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where. `name` is the e-mail address or key prefix at that time.

    `network` is what refusals are counted by: see tenants.models.refusals.
    """

    name: str
    user: User | None = None
    key_id: ObjectId | None = None
    address: str = ""
    network: str = ""
    user_agent: str = ""
    request_id: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """Return the caller of a REST or admin request."""
        if request.user.is_authenticated:
            return cls.at(request, request.user.email, user=request.user)
        key = getattr(getattr(request, "auth", None), "key", None)
        return cls.at(request, key.prefix if key else "", key_id=key and key.pk)

    @classmethod
    def at(
        cls, request: HttpRequest, name: str, *, user: User | None = None, key_id: ObjectId | None = None
    ) -> Self:
        """Return somebody where `request` comes from, whoever its caller is taken for."""
        return cls(
            name=name,
            user=user,
            key_id=key_id,
            address=client_address(request),
            network=client_network(request),
            user_agent=request.headers.get("User-Agent", "")[:300],
            request_id=getattr(request, "id", ""),
        )


#: Commands and background work.
SYSTEM = Actor("system")


class AuditEventManager(models.Manager.from_queryset(AppendOnlyQuerySet)):
    def record(
        self,
        by: Actor,
        action: str,
        target: models.Model,
        *,
        tenant: Any = None,
        changes: dict | None = None,
        **refusal: str,
    ) -> AuditEvent:
        """Add "`by` did `action` to `target`".

        `action` is `<object>.<past participle>`; `changes` is `{field: [before, after]}` and never
        holds a secret. `tenant` is None for what concerns a person alone. `refusal` is `reason`,
        `asked` and `once`: tenants.models.refusals.
        """
        return self.create(
            tenant=tenant,
            action=action,
            actor=by.user,
            actor_key=by.key_id,
            actor_name=by.name,
            target_type=target._meta.model_name,
            target_id=str(target.pk or ""),
            target_name=str(target)[:254],
            changes={
                field: [_shown(before), _shown(after)] for field, (before, after) in (changes or {}).items()
            },
            address=by.address,
            user_agent=by.user_agent,
            request_id=by.request_id,
            **refusal,
        )


def _shown(value: Any) -> Any:
    """Return `value` as JSON can hold it, long text cut."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


class AuditEvent(AppendOnly, Document):
    """`tenant` is None for what concerns a person alone. `reason` and `asked` are those of a refusal.

    Deleting what an event refers to neither changes the event nor takes it along.
    """

    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.PROTECT, null=True, related_name="audit_events", db_index=False
    )
    action = models.CharField(max_length=60)
    reason = models.CharField(max_length=60, blank=True, default="")
    actor = models.ForeignKey(User, on_delete=models.DO_NOTHING, null=True, related_name="+", db_index=False)
    actor_key = ObjectIdField(null=True)
    actor_name = models.CharField(
        max_length=254, blank=True, default="", help_text="E-mail address or key prefix at that time."
    )
    target_type = models.CharField(max_length=40)
    target_id = models.CharField(max_length=40)
    target_name = models.CharField(max_length=254, blank=True, default="")
    changes = models.JSONField(default=dict)
    asked = models.CharField(
        max_length=200, blank=True, default="", help_text="Method and route of a refused request."
    )
    address = models.CharField(max_length=45, blank=True, default="")
    user_agent = models.CharField(max_length=300, blank=True, default="")
    request_id = models.CharField(max_length=128, blank=True, default="")
    #: What may be there once; None for all but refusals.
    once = models.CharField(max_length=64, null=True, blank=True, unique=True, editable=False)

    objects = AuditEventManager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=["tenant", "-created_at", "-id"], name="audit_newest"),
            models.Index(fields=["tenant", "action", "-created_at", "-id"], name="audit_action_newest"),
            models.Index(fields=["-created_at", "-id"], name="audit_all_newest"),
        )

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.target_name}".strip()
