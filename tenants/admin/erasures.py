"""Erasures in the admin site, read-only: unfinished ones, and the manifests of finished ones."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from tenants.admin.base import TenantOwnedAdmin
from tenants.models import Erasure, ErasureManifest


class ErasureRecordAdmin(TenantOwnedAdmin):
    list_display = ("asked_at", "tenant", "scope", "asked_by", "documents")
    list_filter = ("scope", "asked_at")
    own_search_fields = ("asked_by", "subject_digest")
    tenant_field = "tenant"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        # `tenant` is an id, not a foreign key: nothing can be prefetched, and the tenant may be purged.
        return super(TenantOwnedAdmin, self).get_queryset(request)

    @admin.display(description="documents removed")
    def documents(self, record: Erasure | ErasureManifest) -> int:
        return sum(each["count"] for each in record.removed.values())


@admin.register(Erasure)
class ErasureAdmin(ErasureRecordAdmin):
    exclude = ("subject",)


@admin.register(ErasureManifest)
class ErasureManifestAdmin(ErasureRecordAdmin):
    pass
