"""`/api/tenants/{id}/invitations`, `/api/invitations/accept`."""

from __future__ import annotations

import hashlib
import logging

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import AuthenticatedRequest
from accounts.models import normalised_email
from core.api.actors import actor_of
from core.api.idempotency import idempotent
from core.api.limits import rate_limit_reached
from core.api.serializers import validated
from core.api.throttling import counted
from core.errors import NotFound, Unavailable
from core.mail import require_mail_server
from tenants.access.rights import ADMINISTER
from tenants.access.views import TenantScopedView
from tenants.models import Invitation, Tenant
from tenants.serializers import InvitationSerializer, InvitationTokenSerializer, TenantSerializer

logger = logging.getLogger(__name__)


class InvitationViewSet(TenantScopedView, ListModelMixin, RetrieveModelMixin, GenericViewSet[Invitation]):
    """Invitations by e-mail. The token is only in the mail."""

    records_changes = True
    rights = {"GET": ADMINISTER, "POST": ADMINISTER, "DELETE": ADMINISTER}
    lookup_url_kwarg = "invitation_id"
    serializer_class = InvitationSerializer
    queryset = Invitation.objects.none()

    @property
    def rate_scope(self) -> str:
        return "tenants.keys" if self.action in {"list", "create"} else "default"

    def get_queryset(self) -> QuerySet[Invitation]:
        tenant = self.get_tenant()
        return tenant.invitations.all()

    def create(self, request: Request, tenant_id: str) -> Response:
        return self._send(request, self.get_tenant())

    @idempotent
    def _send(self, request: Request, tenant: Tenant) -> Response:
        fields = validated(InvitationSerializer(data=request.data))
        require_mail_server()
        email = normalised_email(fields["email"])
        Invitation.objects.require_none_pending(tenant, email)
        _count_mail(request, "inviter", str(request.user.pk))
        _count_mail(request, "tenant", str(tenant.pk))
        _count_mail(request, "recipient", hashlib.sha256(email.encode()).hexdigest())
        try:
            invitation = Invitation.objects.send(tenant, **fields, by=actor_of(request)).invitation
        except OSError as error:
            logger.exception("an invitation could not be mailed")
            raise Unavailable("The invitation can't be mailed right now.", "mail_unavailable") from error
        return Response(
            InvitationSerializer(invitation).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("invitation", args=[tenant.pk, invitation.pk])},
        )

    def destroy(self, request: Request, tenant_id: str, invitation_id: str) -> Response:
        """Revoke the invitation."""
        self.get_object().revoke(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


def _count_mail(request: Request, scope: str, identity: str) -> None:
    """Count a mail by who sends it, for whom or to whom. Raises LimitReached beyond the day's number."""
    usage = counted(request, f"invitations.{scope}", lambda group, request: f"{group} {identity}")
    if usage and not usage.has_room_for(0):
        raise rate_limit_reached(usage, scope=scope)


class AcceptInvitationView(APIView):
    """Accept an invitation that was mailed to the caller's address. Works once."""

    also_answers = {"404"}
    rate_scope = "tenants.keys"

    @extend_schema(request=InvitationTokenSerializer, responses=TenantSerializer)
    def post(self, request: AuthenticatedRequest) -> Response:
        token = validated(InvitationTokenSerializer(data=request.data))["token"]
        try:
            membership = Invitation.objects.accept(token, request.user, actor_of(request))
        except Invitation.DoesNotExist as error:
            raise NotFound("There is no such invitation for your e-mail address.") from error
        tenant = membership.tenant
        return Response(TenantSerializer(tenant, context={"roles": {tenant.pk: membership.role}}).data)
