"""`/api/tenants/{id}/members`."""

from __future__ import annotations

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import AuthenticatedRequest
from core.api.actors import actor_of
from core.api.idempotency import idempotent
from core.api.serializers import validated
from core.errors import Forbidden
from tenants.access.rights import ADMINISTER, MEMBER
from tenants.access.views import TenantScopedView
from tenants.models import Membership, Tenant
from tenants.models.membership import fellow_members
from tenants.serializers import MemberSerializer, NewMemberSerializer


class MemberListView(TenantScopedView, ListAPIView[Membership]):
    """The members of the tenant. Users of no tenant that the caller administers have to be invited."""

    records_changes = True
    rights = {"GET": ADMINISTER, "POST": ADMINISTER}
    serializer_class = MemberSerializer
    queryset = Membership.objects.none()

    def get_queryset(self) -> QuerySet[Membership]:
        tenant = self.get_tenant()
        return tenant.memberships.prefetch_related("user")

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    def post(self, request: AuthenticatedRequest, tenant_id: str) -> Response:
        return self._add(request, self.get_tenant())

    @idempotent
    def _add(self, request: AuthenticatedRequest, tenant: Tenant) -> Response:
        fields = validated(NewMemberSerializer(data=request.data))
        user = get_object_or_404(fellow_members(request.user), pk=fields["user"])
        membership = Membership.objects.admit(tenant, user, fields["role"], actor_of(request))
        return Response(
            MemberSerializer(membership).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("member", args=[tenant.pk, user.pk])},
        )


class MemberViewSet(TenantScopedView, GenericViewSet[Membership]):
    """One member. Members may end their own membership, only admins that of others."""

    records_changes = True
    rights = {"GET": MEMBER, "PUT": ADMINISTER, "DELETE": MEMBER}
    lookup_url_kwarg = "user_id"
    serializer_class = MemberSerializer
    queryset = Membership.objects.none()

    def retrieve(self, request: Request, tenant_id: str, user_id: str) -> Response:
        return Response(MemberSerializer(self._membership(user_id)).data)

    def partial_update(self, request: Request, tenant_id: str, user_id: str) -> Response:
        membership = self._membership(user_id)
        fields = validated(MemberSerializer(membership, data=request.data, partial=True))
        membership.change_role(fields.get("role", membership.role), actor_of(request))
        return Response(MemberSerializer(membership).data)

    def destroy(self, request: Request, tenant_id: str, user_id: str) -> Response:
        self._membership(user_id).remove(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _membership(self, user_id: str) -> Membership:
        access = self.get_access()
        if user_id != str(self.request.user.pk) and not access.may(ADMINISTER):
            raise Forbidden("Only admins of the tenant may do this to others.")
        return get_object_or_404(access.tenant.memberships, user=user_id)
