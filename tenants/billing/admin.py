"""Plans, usage and ledger in the admin site. Usage and ledger are read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from core.admin import DocumentAdmin
from core.api.actors import actor_of
from core.audit.models import AuditEvent
from core.mongo.ids import object_id
from tenants.admin.base import TenantOwnedAdmin
from tenants.billing.limits import from_decimal128, json_amount, month_of
from tenants.models import LedgerEntry, Plan, Usage


@admin.register(Plan)
class PlanAdmin(DocumentAdmin):
    list_display = (
        "name",
        "code",
        "requests_per_minute",
        "concurrent_turns",
        "messages_per_month",
        "tokens_per_month",
        "cost_per_month",
        "unpriced",
    )
    list_filter = ("unpriced", "streaming")
    search_fields = ("name", "code")
    ordering = ("code",)

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        return ("code", "created_at", "updated_at") if obj else ()

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changes = {name: (form.initial.get(name), form.cleaned_data[name]) for name in form.changed_data}
        action = "plan.changed" if change else "plan.created"
        AuditEvent.objects.record(actor_of(request), action, obj, changes=changes)

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        """Plans are kept: tenants refer to them, deleted ones too."""
        return False


@admin.register(Usage)
class UsageAdmin(TenantOwnedAdmin):
    list_display = ("tenant", "running_turns", "messages", "tokens", "cost", "updated_at")
    fields = ("tenant", "limits", "created_at", "updated_at")
    ordering = ("-updated_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        return super().get_queryset(request).prefetch_related("tenant__plan")

    def _this_month(self, usage: Usage, counter: str) -> str:
        month = usage.months.get(month_of(timezone.now()), {})
        return str(json_amount(from_decimal128(month.get(counter, 0))))

    @admin.display(description="running turns", ordering="live")
    def running_turns(self, usage: Usage) -> int:
        return usage.running_turns

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
            "<table><thead><tr><th>limit</th><th>used</th><th>reserved</th><th>maximum</th></tr></thead>{}</table>",
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
        )


@admin.register(LedgerEntry)
class LedgerEntryAdmin(TenantOwnedAdmin):
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
