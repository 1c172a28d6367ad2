"""Webhooks and deliveries in the admin site, read-only. No page shows a secret."""

from __future__ import annotations

from django.contrib import admin

from tenants.admin.base import TenantOwnedAdmin
from tenants.models import Webhook, WebhookDelivery


@admin.register(Webhook)
class WebhookAdmin(TenantOwnedAdmin):
    list_display = ("url", "tenant", "events", "enabled", "created_at")
    list_filter = ("enabled",)
    fields = ("tenant", "url", "events", "enabled", "created_at", "updated_at")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(TenantOwnedAdmin):
    list_display = ("created_at", "tenant", "event", "status", "attempts", "response_status", "problem")
    list_filter = ("status", "event")
    fields = (
        "tenant",
        "webhook",
        "event",
        "status",
        "attempts",
        "response_status",
        "problem",
        "body",
        "due_at",
        "finished_at",
        "created_at",
    )
