"""What the admin pages of tenants share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from core.errors import DomainError
from tenants.models import Tenant

#: Tenants or people whose rows one search may show; a longer list says that the search was too broad.
MAX_SEARCH_OWNERS = 100


class TenantOwnedAdmin(admin.ModelAdmin):
    """Rows of tenants: found by the tenant's name or slug as well. Read-only unless a subclass says more."""

    search_help_text = "Beginning of the tenant's name or slug"
    search_fields = ("tenant",)  # See get_search_results.
    own_search_fields: tuple[str, ...] = ()

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
        found = Q(tenant_id__in=list(tenants.values_list("pk", flat=True)[:MAX_SEARCH_OWNERS]))
        for field in self.own_search_fields:
            found |= Q(**{f"{field}__istartswith": term})
        return queryset.filter(found | self.own_matches(term)), False

    def own_matches(self, term: str) -> Q:
        return Q()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """For actions, which change by domain methods what no form may."""
        return request.user.has_perm(f"tenants.change_{self.opts.model_name}")


class DomainErrorMessages(admin.ModelAdmin):
    """Shows a broken rule of the domain as a message over the form."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except DomainError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def apply_to_each(
        self, request: HttpRequest, rows: QuerySet, change: Callable[[Any], Any], done: str
    ) -> None:
        """Call `change` with every row, and tell how many were `done` and what stood in the way."""
        count = 0
        for row in rows:
            try:
                change(row)
            except DomainError as error:
                self.message_user(request, f"{row}: {error.detail}", messages.ERROR)
            else:
                count += 1
        if count:
            self.message_user(request, f"{done}: {count}.")
