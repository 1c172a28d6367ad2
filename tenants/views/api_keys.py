"""`/api/tenants/{id}/api-keys`."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from core.api.actors import actor_of
from core.api.idempotency import idempotent
from core.api.serializers import validated
from tenants.access.rights import EDIT
from tenants.access.views import TenantScopedView
from tenants.models import ApiKey, Tenant
from tenants.models.api_key import IssuedKey
from tenants.serializers import ApiKeySerializer, IssuedKeySerializer, RotationSerializer


class ApiKeyViewSet(TenantScopedView, ListModelMixin, RetrieveModelMixin, GenericViewSet[ApiKey]):
    """API keys that are not revoked. A new key's secret is shown once, as `key`."""

    records_changes = True
    rights = {"GET": EDIT, "POST": EDIT, "DELETE": EDIT}
    rate_scope = "tenants.keys"
    lookup_url_kwarg = "key_id"
    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.none()

    def get_queryset(self) -> QuerySet[ApiKey]:
        tenant = self.get_tenant()
        return tenant.api_keys.filter(revoked_at=None)

    @extend_schema(request=ApiKeySerializer, responses={201: IssuedKeySerializer})
    def create(self, request: Request, tenant_id: str) -> Response:
        return self._issue(request, self.get_tenant())

    @idempotent
    def _issue(self, request: Request, tenant: Tenant) -> Response:
        fields = validated(ApiKeySerializer(data=request.data))
        return _issued(ApiKey.objects.issue(tenant, by=actor_of(request), **fields))

    def destroy(self, request: Request, tenant_id: str, key_id: str) -> Response:
        """Revoke the key: it is refused from the next request on."""
        self.get_object().revoke(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=RotationSerializer, responses={201: IssuedKeySerializer})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, tenant_id: str, key_id: str) -> Response:
        """Issue a successor with the same permissions; the old key stays valid for `overlap_seconds`."""
        self.get_access()
        return self._rotate(request)

    @idempotent
    def _rotate(self, request: Request) -> Response:
        overlap = timedelta(seconds=validated(RotationSerializer(data=request.data))["overlap_seconds"])
        return _issued(self.get_object().rotate(overlap=overlap, by=actor_of(request)))


def _issued(issued: IssuedKey) -> Response:
    key = issued.key
    location = reverse("api-key", args=[key.tenant_id, key.pk])
    return Response(
        {**ApiKeySerializer(key).data, "key": issued.secret},
        status=status.HTTP_201_CREATED,
        headers={"Location": location},
    )
