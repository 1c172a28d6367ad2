"""Erasures in the staff's console: what is under way, and the manifests of what is done."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from tenants.admin.base import TenantOwnedAdmin
from tenants.models import Erasure, ErasureManifest


class RecordAdmin(TenantOwnedAdmin):
    list_display = ("asked_at", "tenant", "scope", "asked_by", "documents")
    list_filter = ("scope", "asked_at")
    own_search_fields = ("asked_by", "subject_digest")

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        # The tenant is no reference: it may be gone.
        return super(TenantOwnedAdmin, self).get_queryset(request)

    @admin.display(description="documents removed")
    def documents(self, record: Erasure | ErasureManifest) -> int:
        return sum(each["count"] for each in record.removed.values())


@admin.register(Erasure)
class ErasureAdmin(RecordAdmin):
    exclude = ("subject",)


@admin.register(ErasureManifest)
class ErasureManifestAdmin(RecordAdmin):
    pass
