"""`/api/tenants/{id}/audit`."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.generics import ListAPIView

from core.audit.models import AuditEvent
from tenants.access.rights import ADMINISTER
from tenants.access.views import TenantScopedView
from tenants.filters import AuditFilter
from tenants.serializers import AuditEventSerializer


class AuditTrailView(TenantScopedView, ListAPIView[AuditEvent]):
    """Who changed what, or was denied it, when and from where; newest first."""

    rights = {"GET": ADMINISTER}
    serializer_class = AuditEventSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = AuditFilter
    queryset = AuditEvent.objects.none()

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.of_tenant(self.get_tenant().pk)
