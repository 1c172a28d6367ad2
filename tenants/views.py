"""`/api/tenants`: tenants, their team, keys, usage and audit trail."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from core.audit.models import AuditEvent
from core.errors import Unavailable
from tenants.access.rights import ADMINISTER, BELONG, EDIT, VIEW
from tenants.access.views import TenantScopedView
from tenants.billing.limits import limit_data, month_of
from tenants.filters import AuditFilter
from tenants.models import ApiKey, Invitation, Membership, Tenant, Usage
from tenants.models.api_key import IssuedKey
from tenants.models.membership import known_to
from tenants.serializers import (
    ApiKeySerializer,
    AuditEventSerializer,
    InvitationSerializer,
    InvitationTokenSerializer,
    IssuedKeySerializer,
    MemberSerializer,
    NewMemberSerializer,
    RotationSerializer,
    TenantSerializer,
    TenantUsageSerializer,
)

logger = logging.getLogger("tenants")

#: Answers that hold a secret must stay out of every cache on the way.
NOT_STORED = {"Cache-Control": "no-store"}


class Tenants(ListAPIView):
    """The tenants of the caller, newest first; creating one makes the caller its admin."""

    serializer_class = TenantSerializer
    queryset = Tenant.objects.none()
    # Ids begin with the time, so this is newest first without a sort of its own.
    orderings = {"-created_at": ("-id",)}

    @property
    def rate_scope(self) -> str:
        return "tenants.create" if self.request.method == "POST" else "default"

    def get_queryset(self) -> QuerySet[Tenant]:
        visible = Tenant.objects.visible_to(self.request.user)
        return visible.prefetch_related("plan", "requested_plan")

    def get_serializer_context(self) -> dict:
        return {**super().get_serializer_context(), "roles": Membership.objects.roles_of(self.request.user)}

    @extend_schema(request=TenantSerializer, responses={201: TenantSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        fields = _valid(self.get_serializer(data=request.data)).validated_data
        tenant = Tenant.objects.open(**fields, by=actor_of(request))
        return Response(
            TenantSerializer(tenant, context={"roles": {tenant.pk: "admin"}}).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("tenant", args=[tenant.pk]), "ETag": etag(tenant)},
        )


class TenantDetail(TenantScopedView):
    """One tenant. A new `requested_plan` is a request to the platform's staff, and an admin's to make."""

    rights = {"GET": VIEW, "PUT": EDIT, "DELETE": ADMINISTER}

    @extend_schema(responses=TenantSerializer)
    def get(self, request: Request, tenant_id: str) -> Response:
        return self._shown()

    @extend_schema(request=TenantSerializer, responses=TenantSerializer)
    def put(self, request: Request, tenant_id: str) -> Response:
        return self._change(request, partial=False)

    @extend_schema(request=TenantSerializer, responses=TenantSerializer)
    def patch(self, request: Request, tenant_id: str) -> Response:
        return self._change(request, partial=True)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, tenant_id: str) -> Response:
        check_if_match(request, self.tenant)
        self.tenant.delete_softly(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _change(self, request: Request, *, partial: bool) -> Response:
        check_if_match(request, self.tenant)
        fields = _valid(self._serializer(data=request.data, partial=partial)).validated_data
        if "requested_plan" in fields and not self.access.may(ADMINISTER):
            raise PermissionDenied("Only admins of the tenant may ask for another plan.")
        self.tenant.change(actor_of(request), **fields)
        return self._shown()

    def _shown(self) -> Response:
        return Response(self._serializer(self.tenant).data, headers={"ETag": etag(self.tenant)})

    def _serializer(self, *args, **options) -> TenantSerializer:
        return TenantSerializer(*args, **options, context={"roles": {self.tenant.pk: self.access.role}})


class Members(TenantScopedView, ListAPIView):
    rights = {"GET": ADMINISTER, "POST": ADMINISTER}
    serializer_class = MemberSerializer
    queryset = Membership.objects.none()

    def get_queryset(self) -> QuerySet[Membership]:
        return self.tenant.memberships.prefetch_related("user")

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str) -> Response:
        fields = _valid(NewMemberSerializer(data=request.data)).validated_data
        user = get_object_or_404(known_to(request.user), pk=fields["user"])
        membership = Membership.objects.admit(self.tenant, user, fields["role"], actor_of(request))
        return Response(
            MemberSerializer(membership).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("member", args=[self.tenant.pk, user.pk])},
        )


class Member(TenantScopedView):
    """One member. Everyone may end their own membership, only admins that of others."""

    rights = {"GET": BELONG, "PUT": ADMINISTER, "DELETE": BELONG}

    @extend_schema(responses=MemberSerializer)
    def get(self, request: Request, tenant_id: str, user_id: str) -> Response:
        return Response(MemberSerializer(self._membership(user_id)).data)

    @extend_schema(request=MemberSerializer, responses=MemberSerializer)
    def patch(self, request: Request, tenant_id: str, user_id: str) -> Response:
        membership = self._membership(user_id)
        fields = _valid(MemberSerializer(membership, data=request.data, partial=True)).validated_data
        membership.change_role(fields.get("role", membership.role), actor_of(request))
        return Response(MemberSerializer(membership).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, tenant_id: str, user_id: str) -> Response:
        self._membership(user_id).end(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _membership(self, user_id: str) -> Membership:
        if user_id != str(self.request.user.pk) and not self.access.may(ADMINISTER):
            raise PermissionDenied("Only admins of the tenant may do this to others.")
        membership = get_object_or_404(self.tenant.memberships, user=user_id)
        membership.tenant = self.tenant
        return membership


class Invitations(TenantScopedView, ListAPIView):
    """Invitations by e-mail. The token is only in the mail."""

    rights = {"GET": ADMINISTER, "POST": ADMINISTER}
    rate_scope = "tenants.keys"
    serializer_class = InvitationSerializer
    queryset = Invitation.objects.none()

    def get_queryset(self) -> QuerySet[Invitation]:
        return self.tenant.invitations.all()

    @extend_schema(request=InvitationSerializer, responses={201: InvitationSerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str) -> Response:
        fields = _valid(InvitationSerializer(data=request.data)).validated_data
        try:
            invitation = Invitation.objects.send(self.tenant, **fields, by=actor_of(request)).invitation
        except OSError as error:
            logger.exception("an invitation could not be mailed")
            raise Unavailable("The invitation can't be mailed right now.", "mail_unavailable") from error
        return Response(
            InvitationSerializer(invitation).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("invitation", args=[self.tenant.pk, invitation.pk])},
        )


class InvitationDetail(TenantScopedView):
    rights = {"GET": ADMINISTER, "DELETE": ADMINISTER}

    @extend_schema(responses=InvitationSerializer)
    def get(self, request: Request, tenant_id: str, invitation_id: str) -> Response:
        return Response(InvitationSerializer(self._invitation(invitation_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, tenant_id: str, invitation_id: str) -> Response:
        self._invitation(invitation_id).revoke(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _invitation(self, invitation_id: str) -> Invitation:
        return get_object_or_404(self.tenant.invitations, pk=invitation_id)


class AcceptInvitation(APIView):
    """Take up an invitation that was mailed to the caller's address. Works once."""

    also_answers = {"404"}
    rate_scope = "tenants.keys"

    @extend_schema(request=InvitationTokenSerializer, responses=TenantSerializer)
    def post(self, request: Request) -> Response:
        token = _valid(InvitationTokenSerializer(data=request.data)).validated_data["token"]
        try:
            membership = Invitation.objects.accept(token, request.user, actor_of(request))
        except Invitation.DoesNotExist as error:
            raise NotFound("There is no such invitation for your e-mail address.") from error
        tenant = membership.tenant
        return Response(TenantSerializer(tenant, context={"roles": {tenant.pk: membership.role}}).data)


class ApiKeys(TenantScopedView, ListAPIView):
    """API keys that are not revoked. A new key's secret is shown once, as `key`."""

    rights = {"GET": EDIT, "POST": EDIT}
    rate_scope = "tenants.keys"
    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.none()

    def get_queryset(self) -> QuerySet[ApiKey]:
        return self.tenant.api_keys.filter(revoked_at=None)

    @extend_schema(request=ApiKeySerializer, responses={201: IssuedKeySerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str) -> Response:
        fields = _valid(ApiKeySerializer(data=request.data)).validated_data
        return _issued(ApiKey.objects.issue(self.tenant, by=actor_of(request), **fields))


class ApiKeyDetail(TenantScopedView):
    rights = {"GET": EDIT, "DELETE": EDIT}
    rate_scope = "tenants.keys"

    @extend_schema(responses=ApiKeySerializer)
    def get(self, request: Request, tenant_id: str, key_id: str) -> Response:
        return Response(ApiKeySerializer(_unrevoked_key(self.tenant, key_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, tenant_id: str, key_id: str) -> Response:
        _unrevoked_key(self.tenant, key_id).revoke(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateApiKey(TenantScopedView):
    """Issue a successor with the same permissions; the old key works on for `overlap_seconds`."""

    rights = {"POST": EDIT}
    rate_scope = "tenants.keys"

    @extend_schema(request=RotationSerializer, responses={201: IssuedKeySerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str, key_id: str) -> Response:
        overlap = _valid(RotationSerializer(data=request.data)).validated_data["overlap_seconds"]
        key = _unrevoked_key(self.tenant, key_id)
        return _issued(key.rotate(overlap=timedelta(seconds=overlap), by=actor_of(request)))


class UsageDetail(TenantScopedView):
    """Every limit of the plan and how much of it is taken: the figures that refusals cite."""

    rights = {"GET": VIEW}

    @extend_schema(responses=TenantUsageSerializer)
    def get(self, request: Request, tenant_id: str) -> Response:
        now = timezone.now()
        return Response(
            {
                "plan": self.tenant.plan.code,
                "month": month_of(now),
                "currency": "USD",
                "limits": [limit_data(limit) for limit in Usage.objects.of(self.tenant).limit_usages(now)],
            }
        )


class AuditTrail(TenantScopedView, ListAPIView):
    """Who changed what, or was refused, when and from where; newest first."""

    rights = {"GET": ADMINISTER}
    serializer_class = AuditEventSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = AuditFilter
    queryset = AuditEvent.objects.none()

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.of_tenant(self.tenant.pk)


def _valid(serializer: BaseSerializer) -> BaseSerializer:
    serializer.is_valid(raise_exception=True)
    return serializer


def _unrevoked_key(tenant: Tenant, key_id: str) -> ApiKey:
    key = get_object_or_404(tenant.api_keys.filter(revoked_at=None), pk=key_id)
    key.tenant = tenant
    return key


def _issued(issued: IssuedKey) -> Response:
    key = issued.key
    key.key = issued.secret
    return Response(
        IssuedKeySerializer(key).data,
        status=status.HTTP_201_CREATED,
        headers={"Location": reverse("api-key", args=[key.tenant_id, key.pk]), **NOT_STORED},
    )
