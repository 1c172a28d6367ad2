"""Usage, ledger and audit trail in the staff's console: to read."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from core.audit.models import AuditEvent
from core.mongo.ids import object_id
from tenants.admin.base import TenantOwned
from tenants.billing.limits import from_decimal128, json_amount, month_of
from tenants.models import LedgerEntry, Tenant, Usage


@admin.register(Usage)
class UsageAdmin(TenantOwned):
    list_display = ("tenant", "live", "messages", "tokens", "cost", "updated_at")
    fields = ("tenant", "limits", "created_at", "updated_at")
    ordering = ("-updated_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        return super().get_queryset(request).prefetch_related("tenant__plan")

    def _this_month(self, usage: Usage, counter: str) -> str:
        month = usage.months.get(month_of(timezone.now()), {})
        return str(json_amount(from_decimal128(month.get(counter, 0))))

    @admin.display(description="messages this month")
    def messages(self, usage: Usage) -> str:
        return self._this_month(usage, "messages")

    @admin.display(description="tokens this month")
    def tokens(self, usage: Usage) -> str:
        return self._this_month(usage, "tokens")

    @admin.display(description="US dollars this month")
    def cost(self, usage: Usage) -> str:
        return self._this_month(usage, "cost")

    @admin.display(description="limits")
    def limits(self, usage: Usage) -> str:
        rows = [
            (
                limit.name,
                json_amount(limit.used),
                json_amount(limit.reserved),
                "unlimited" if limit.limit is None else json_amount(limit.limit),
            )
            for limit in usage.limit_usages()
        ]
        return format_html(
            "<table><thead><tr><th>limit</th><th>used</th><th>reserved</th><th>of</th></tr></thead>{}</table>",
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
        )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(TenantOwned):
    list_display = (
        "created_at",
        "tenant",
        "provider",
        "model",
        "outcome",
        "input_tokens",
        "output_tokens",
        "cost",
        "cost_basis",
    )
    list_filter = ("provider", "outcome", "cost_basis", "month")
    search_help_text = "Beginning of the tenant's name or slug, or the id of a reply or session"

    def own_matches(self, term: str) -> Q:
        pk = object_id(term)
        return Q(reply=pk) | Q(session=pk) if pk else Q()


@admin.register(AuditEvent)
class AuditEventAdmin(TenantOwned):
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
            event.tenant = tenants.get(event.tenant_id)
        return changelist

    @admin.display(description="tenant", ordering="tenant_id")
    def tenant(self, event: AuditEvent) -> Tenant | None:
        if "tenant" not in vars(event):
            event.tenant = Tenant.objects.filter(pk=event.tenant_id).first()
        return event.tenant
