"""Query parameters that narrow the lists of tenants' records."""

from __future__ import annotations

import django_filters as filters

from core.api.filters import DateTimeFilter
from core.audit.models import AuditEvent


class AuditFilter(filters.FilterSet):
    action = filters.CharFilter(max_length=60, label="What was done, such as member.role_changed.")
    created_after = DateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = DateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = AuditEvent
        fields = ()
