"""Base classes of the admin pages of tenants."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from accounts.models import User
from tenants.models import Tenant

#: Tenants or users whose rows one search may show. A search that finds more is too broad.
MAX_SEARCH_OWNERS = 100


def has_permission(request: HttpRequest, permission: str) -> bool:
    return isinstance(request.user, User) and request.user.has_perm(permission)


class TenantOwnedAdmin(admin.ModelAdmin):
    """Rows that belong to a tenant, found by its name or slug. Read-only unless a subclass allows more."""

    search_help_text = "Beginning of the tenant's name or slug"
    search_fields = ("tenant",)  # See get_search_results.
    own_search_fields: tuple[str, ...] = ()
    #: The field with the tenant's id.
    tenant_field = "tenant_id"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).prefetch_related("tenant")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        # Two queries: a filter across the relation would join the whole collection.
        term = search_term.strip()
        if not term:
            return queryset, False
        tenants = Tenant.objects.filter(Q(name__istartswith=term) | Q(slug__startswith=term.lower()))
        tenant_ids = list(tenants.values_list("pk", flat=True)[:MAX_SEARCH_OWNERS])
        found = Q(**{f"{self.tenant_field}__in": tenant_ids})
        for field in self.own_search_fields:
            found |= Q(**{f"{field}__istartswith": term})
        return queryset.filter(found | self.own_matches(term)), False

    def own_matches(self, term: str) -> Q:
        """Return a further condition by which rows match a search term."""
        return Q()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """For actions, which change rows by model methods though no form may."""
        return has_permission(request, f"tenants.change_{self.opts.model_name}")
