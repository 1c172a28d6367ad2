"""The audit trail in the admin site, read-only."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from core.audit.models import AuditEvent
from tenants.admin.base import TenantOwnedAdmin
from tenants.models import Tenant


@admin.register(AuditEvent)
class AuditEventAdmin(TenantOwnedAdmin):
    """Events name their tenant by id only; its name is looked up here."""

    list_display = ("created_at", "tenant", "actor_name", "action", "reason", "target_name", "address")
    list_filter = ("action", "created_at")
    fields = (
        "tenant",
        "action",
        "reason",
        "actor_id",
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
    )
    show_full_result_count = False
    search_help_text = "Beginning of the tenant's name or slug, of the actor, or of the target"
    own_search_fields = ("actor_name", "target_name", "request_id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        return admin.ModelAdmin.get_queryset(self, request)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Load the tenants of a page with one query."""
        changelist = super().get_changelist_instance(request)
        tenants = Tenant.objects.in_bulk({event.tenant_id for event in changelist.result_list} - {None})
        for event in changelist.result_list:
            vars(event)["tenant"] = tenants.get(event.tenant_id)
        return changelist

    @admin.display(description="tenant", ordering="tenant_id")
    def tenant(self, event: AuditEvent) -> Tenant | None:
        loaded: dict[str, Tenant | None] = vars(event)
        if "tenant" not in loaded:
            loaded["tenant"] = Tenant.objects.filter(pk=event.tenant_id).first()
        return loaded["tenant"]
