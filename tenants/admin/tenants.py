"""Tenants in the admin site."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from core.admin import DocumentAdmin
from core.api.actors import actor_of
from core.audit.models import AuditEvent
from tenants.admin.forms import TenantForm
from tenants.models import ApiKey, Invitation, LedgerEntry, Membership, Tenant


@admin.register(Tenant)
class TenantAdmin(DocumentAdmin):
    form = TenantForm
    list_display = ("name", "slug", "plan", "requested_plan", "status", "deleted_at", "created_at")
    list_filter = ("status", "plan", ("requested_plan", admin.EmptyFieldListFilter), "deleted_at")
    search_fields = ("name", "slug", "domain")
    readonly_fields = ("slug", "status", "deleted_at", "related", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("name", "slug", "domain", "allowed_origins", "related")}),
        ("Plan and state", {"fields": ("plan", "requested_plan", "status", "deleted_at")}),
        (
            "Assistant",
            {
                "fields": (
                    "system_prompt",
                    "route",
                    "temperature",
                    "max_tokens",
                    "history_messages",
                    "retention_days",
                    "visitor_fields",
                )
            },
        ),
        ("History", {"fields": ("created_at", "updated_at")}),
    )
    actions = ("suspend", "resume", "grant_requested_plan", "soft_delete", "restore")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).prefetch_related("plan", "requested_plan")

    @admin.display(description="related records")
    def related(self, tenant: Tenant) -> str:
        models = (Membership, Invitation, ApiKey, LedgerEntry, AuditEvent)
        links = [
            (
                reverse(f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist"),
                tenant.pk,
                m._meta.verbose_name_plural,
            )
            for m in models
        ]
        usage = format_html('<a href="{}">usage</a>', reverse("admin:tenants_usage_change", args=[tenant.pk]))
        lists = format_html_join(" · ", '<a href="{}?tenant_id__exact={}">{}</a>', links)
        return format_html("{} · {}", lists, usage)

    def change_document(self, request: HttpRequest, stored: Tenant, changed: dict[str, Any]) -> None:
        action = "tenant.plan_changed" if "plan" in changed else "tenant.updated"
        stored.change(actor_of(request), action, **changed)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tenants are created by users, at the API."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        """Deletion is an action below: it can be undone and never cascades."""
        return False

    @admin.action(description="Suspend: refuse all members and API keys", permissions=["change"])
    def suspend(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.apply_to_each(request, tenants, lambda tenant: tenant.suspend(actor_of(request)), "Suspended")

    @admin.action(description="Resume: end the suspension", permissions=["change"])
    def resume(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.apply_to_each(request, tenants, lambda tenant: tenant.resume(actor_of(request)), "Resumed")

    @admin.action(description="Grant the requested plan", permissions=["change"])
    def grant_requested_plan(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        requesting = tenants.exclude(requested_plan=None)
        self.apply_to_each(
            request,
            requesting,
            lambda tenant: tenant.change_plan(tenant.requested_plan, actor_of(request)),
            "Plan changed",
        )

    @admin.action(description="Delete: hidden at once, can be restored for 30 days", permissions=["change"])
    def soft_delete(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        present = tenants.filter(deleted_at=None)
        self.apply_to_each(request, present, lambda tenant: tenant.soft_delete(actor_of(request)), "Deleted")

    @admin.action(description="Restore: undo the deletion", permissions=["change"])
    def restore(self, request: HttpRequest, tenants: QuerySet[Tenant]) -> None:
        self.apply_to_each(request, tenants, lambda tenant: tenant.restore(actor_of(request)), "Restored")
