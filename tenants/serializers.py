"""Tenants, members, invitations, API keys and audit events as JSON."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

from bson import ObjectId
from django.utils import timezone
from rest_framework import serializers

from accounts.serializers import MailableEmail
from core.api.serializers import (
    BoundedListField,
    DocumentSerializer,
    ObjectIdStringField,
    StrictSerializer,
)
from core.audit.models import AuditEvent
from core.origins import MAX_ORIGIN_LENGTH, normalised_origin
from llm.serializers import RouteField, TargetsField
from tenants.models import ApiKey, Invitation, Membership, Plan, Tenant
from tenants.models.api_key import Scope
from tenants.models.membership import Role
from tenants.models.origins import is_origin_pattern
from tenants.models.tenant import VisitorField

_MAX_ITEMS = 50
_WEEK_SECONDS = 7 * 24 * 3600
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:\d{1,5})?")


class OriginsField(BoundedListField):
    """`https://shop.example`, `https://*.shop.example` or `*`, stored as browsers send origins."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{
                "child": serializers.CharField(max_length=MAX_ORIGIN_LENGTH),
                "max_length": _MAX_ITEMS,
                **options,
            }
        )

    def to_internal_value(self, data: Any) -> list[str]:
        origins = [normalised_origin(origin) for origin in super().to_internal_value(data)]
        if wrong := next((origin for origin in origins if not is_origin_pattern(origin)), None):
            raise serializers.ValidationError(
                f"{wrong[:80]!r} is not an origin. Write https://host, https://*.host or *, without a path."
            )
        return list(dict.fromkeys(origins))


class TenantSettingsSerializer(DocumentSerializer):
    """How the tenant's assistant answers. Null or empty: the default of the plan or the server."""

    route = RouteField()
    visitor_fields = serializers.ListField(
        child=serializers.ChoiceField(VisitorField.choices),
        max_length=len(VisitorField),
        required=False,
        help_text="What public keys and visitors may set beside their words; by default nothing.",
    )

    class Meta:
        model = Tenant
        fields = (
            "system_prompt",
            "route",
            "temperature",
            "max_tokens",
            "history_messages",
            "retention_days",
            "visitor_fields",
        )


class TenantSerializer(DocumentSerializer):
    plan: Any = serializers.SlugRelatedField("code", read_only=True)
    requested_plan = serializers.SlugRelatedField(
        "code", queryset=Plan.objects.all(), required=False, allow_null=True
    )
    allowed_origins = OriginsField(required=False)
    settings = TenantSettingsSerializer(source="*", required=False)
    role = serializers.SerializerMethodField()

    class Meta:
        model = Tenant
        fields = (
            "id",
            "name",
            "slug",
            "domain",
            "allowed_origins",
            "plan",
            "requested_plan",
            "status",
            "settings",
            "role",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("slug", "status")

    def get_role(self, tenant: Tenant) -> str | None:
        """The caller's role, null for a key. From the context: `roles` is `{tenant id: role}`."""
        roles: dict[ObjectId, str | None] = self.context["roles"]
        return roles.get(tenant.pk)

    def validate_domain(self, domain: str) -> str:
        domain = domain.lower()
        if domain and not _DOMAIN.fullmatch(domain):
            raise serializers.ValidationError("Write a host name such as shop.example, without https://.")
        return domain


class MemberSerializer(DocumentSerializer):
    user = ObjectIdStringField(source="user_id", read_only=True)
    email = serializers.EmailField(source="user.email", read_only=True)
    name = serializers.CharField(source="user.name", read_only=True)

    class Meta:
        model = Membership
        fields = ("user", "email", "name", "role", "created_at")


class NewMemberSerializer(StrictSerializer):
    """`user` must be a member of another tenant that the caller administers. Others are invited."""

    user = ObjectIdStringField()
    role = serializers.ChoiceField(Role.choices)


class InvitationSerializer(DocumentSerializer):
    email = MailableEmail()
    state = serializers.ChoiceField(("open", "accepted", "revoked", "expired"), read_only=True)

    class Meta:
        model = Invitation
        fields = ("id", "email", "role", "state", "expires_at", "accepted_at", "created_at")
        read_only_fields = ("expires_at", "accepted_at")


class InvitationTokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=100)


class ApiKeySerializer(DocumentSerializer):
    scopes = BoundedListField(
        child=serializers.ChoiceField(Scope.choices),
        max_length=len(Scope),
        required=False,
        help_text="Of a secret key. Left out: all; []: none.",
    )
    allowed_origins = OriginsField(
        required=False, help_text="They replace the tenant's; empty: those of the tenant."
    )
    allowed_networks = BoundedListField(
        child=serializers.CharField(max_length=50),
        max_length=_MAX_ITEMS,
        required=False,
        help_text="Empty: all.",
    )
    allowed_models = TargetsField(max_length=_MAX_ITEMS, required=False)
    kind = serializers.ChoiceField(ApiKey.Kind.choices, default=ApiKey.Kind.SECRET)
    environment = serializers.ChoiceField(
        ApiKey.Environment.choices,
        default=ApiKey.Environment.LIVE,
        help_text="A public test key also works for pages on localhost. Limits and providers are the same.",
    )
    replaced_by = ObjectIdStringField(source="replaced_by_id", read_only=True, allow_null=True)
    created_by = ObjectIdStringField(source="created_by_id", read_only=True, allow_null=True)

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = (
            "id",
            "name",
            "kind",
            "environment",
            "prefix",
            "last_four",
            "scopes",
            "allowed_origins",
            "allowed_networks",
            "allowed_models",
            "allow_browser",
            "expires_at",
            "replaced_by",
            "created_by",
            "last_used_at",
            "last_used_address",
            "last_used_origin",
            "created_at",
            "updated_at",
        )
        read_only_fields = ("prefix", "last_four", "last_used_at", "last_used_address", "last_used_origin")

    def validate_allowed_networks(self, networks: list[str]) -> list[str]:
        try:
            return [str(ip_network(network)) for network in networks]
        except ValueError as error:
            raise serializers.ValidationError(
                f"{error}. Write an address or a network such as 192.0.2.0/24."
            ) from error

    def validate_expires_at(self, expires_at: Any) -> Any:
        if expires_at is not None and expires_at <= timezone.now():
            raise serializers.ValidationError("This time has passed.")
        return expires_at

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["kind"] == ApiKey.Kind.PUBLIC:
            if fields.get("scopes"):
                raise serializers.ValidationError(
                    {"scopes": "Public keys open sessions and send in them, and have no other scopes."}
                )
            if fields.get("allow_browser"):
                raise serializers.ValidationError(
                    {"allow_browser": "It is for secret keys: public keys are made for browsers."}
                )
            fields["scopes"] = []
        else:
            fields.setdefault("scopes", list(Scope.values))
        return fields


class IssuedKeySerializer(ApiKeySerializer):
    """A new key with its secret, which is not shown again."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = (*ApiKeySerializer.Meta.fields, "key")


class RotationSerializer(StrictSerializer):
    """How long the old key stays valid beside the new one."""

    overlap_seconds = serializers.IntegerField(min_value=0, max_value=_WEEK_SECONDS, default=3600)


class AuditEventSerializer(DocumentSerializer):
    """`changes` is {field: [before, after]}. A denial has a `reason` and, as `asked`, the request's route."""

    actor = ObjectIdStringField(source="actor_id", allow_null=True)
    actor_key = ObjectIdStringField(allow_null=True)

    class Meta:
        model = AuditEvent
        fields = (
            "id",
            "action",
            "reason",
            "actor",
            "actor_key",
            "actor_name",
            "target_type",
            "target_id",
            "target_name",
            "changes",
            "asked",
            "address",
            "user_agent",
            "request_id",
            "created_at",
        )
