"""`/api/tenants/{id}/usage`."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.access.rights import VIEW
from tenants.access.views import TenantScopedView
from tenants.billing.limits import limit_data, month_of
from tenants.billing.serializers import TenantUsageSerializer
from tenants.models import Usage


class UsageView(TenantScopedView):
    """Every limit of the plan and how much of it is used: the same numbers as in errors about limits."""

    rights = {"GET": VIEW}

    @extend_schema(responses=TenantUsageSerializer)
    def get(self, request: Request, tenant_id: str) -> Response:
        tenant, now = self.get_tenant(), timezone.now()
        return Response(
            {
                "plan": tenant.plan.code,
                "month": month_of(now),
                "currency": "USD",
                "limits": [limit_data(limit) for limit in Usage.objects.of(tenant).limit_usages(now)],
            }
        )
