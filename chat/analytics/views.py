"""The analytics endpoint."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from chat.analytics.analytics_data import analytics_data
from chat.analytics.reader import read
from chat.analytics.serializers import AnalyticsSerializer, PeriodSerializer
from core.api.serializers import validated
from tenants.access.rights import VIEW_ANALYTICS
from tenants.access.views import TenantScopedView


class AnalyticsView(TenantScopedView):
    rights = {"GET": VIEW_ANALYTICS}

    @extend_schema(
        operation_id="chat_analytics",
        summary="Metrics of a period",
        description="Totals, and a series of the same metrics by hour, day, week or month.",
        tags=["chat"],
        parameters=[PeriodSerializer],
        responses=AnalyticsSerializer,
    )
    def get(self, request: Request, tenant_id: str) -> Response:
        tenant = self.get_tenant()
        period = validated(PeriodSerializer(data=request.query_params.dict()))["period"]
        return Response(analytics_data(period, *read(tenant.pk, period)))
