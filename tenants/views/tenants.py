"""`/api/tenants`, `/api/tenants/{id}`."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.authentication import AuthenticatedRequest
from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from core.api.serializers import validated
from core.errors import Forbidden
from tenants.access.rights import ADMINISTER, EDIT, VIEW
from tenants.access.views import TenantScopedView
from tenants.models import Membership, Tenant
from tenants.serializers import TenantSerializer


class TenantListView(ListAPIView[Tenant]):
    """The tenants of the caller, newest first; creating one makes the caller its admin."""

    records_changes = True
    request: AuthenticatedRequest
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

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "roles": Membership.objects.roles_of(self.request.user)}

    @extend_schema(request=TenantSerializer, responses={201: TenantSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        fields = validated(self.get_serializer(data=request.data))
        tenant = Tenant.objects.create_with_admin(**fields, by=actor_of(request))
        return Response(
            TenantSerializer(tenant, context={"roles": {tenant.pk: "admin"}}).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": reverse("tenant", args=[tenant.pk]), "ETag": etag(tenant)},
        )


class TenantViewSet(TenantScopedView, GenericViewSet[Tenant]):
    """One tenant. A new `requested_plan` is a request to the platform's staff; only admins may make it."""

    records_changes = True
    rights = {"GET": VIEW, "PUT": EDIT, "DELETE": ADMINISTER}
    lookup_url_kwarg = "tenant_id"
    queryset = Tenant.objects.none()
    serializer_class = TenantSerializer

    def retrieve(self, request: Request, tenant_id: str) -> Response:
        return self._tenant_response()

    @extend_schema(request=TenantSerializer(partial=True))
    def update(self, request: Request, tenant_id: str) -> Response:
        """Change the fields that are sent."""
        return self._change(request)

    def partial_update(self, request: Request, tenant_id: str) -> Response:
        """Change the fields that are sent."""
        return self._change(request)

    def destroy(self, request: Request, tenant_id: str) -> Response:
        tenant = self.get_tenant()
        check_if_match(request, tenant)
        tenant.soft_delete(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def get_serializer_context(self) -> dict[str, Any]:
        access = self.get_access()
        return {"roles": {access.tenant.pk: access.role}}

    def _change(self, request: Request) -> Response:
        access = self.get_access()
        check_if_match(request, access.tenant)
        fields = validated(self.get_serializer(data=request.data, partial=True))
        if "requested_plan" in fields and not access.may(ADMINISTER):
            raise Forbidden("Only admins of the tenant may ask for another plan.")
        access.tenant.change(actor_of(request), **fields)
        return self._tenant_response()

    def _tenant_response(self) -> Response:
        tenant = self.get_tenant()
        return Response(self.get_serializer(tenant).data, headers={"ETag": etag(tenant)})
