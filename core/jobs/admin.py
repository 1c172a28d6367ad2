"""Jobs, and what failed in them, in the admin site: read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from core.jobs.models import Job, SetAside


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("name", "started_at", "finished_at", "outcome", "due_at")
    fields = ("name", "outcome", "started_at", "finished_at", "due_at", "claimed_until")
    ordering = ("name",)


@admin.register(SetAside)
class SetAsideAdmin(ReadOnlyAdmin):
    list_display = ("work", "member", "tenant_id", "attempts", "reason", "due_at", "created_at")
    fields = list_display
    list_filter = ("work",)
    ordering = ("-created_at",)
