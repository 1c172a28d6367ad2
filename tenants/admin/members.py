"""Members and invitations in the admin site."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from accounts.models import User, normalised_email
from core.admin import DomainErrorMessages
from core.api.actors import actor_of
from tenants.admin.base import MAX_SEARCH_OWNERS, TenantOwnedAdmin, has_permission
from tenants.models import Invitation, Membership


@admin.register(Membership)
class MembershipAdmin(DomainErrorMessages, TenantOwnedAdmin):
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = ("role",)
    search_help_text = "Beginning of the tenant's name or slug, or of the e-mail address"
    raw_id_fields = ("tenant", "user")
    actions = ("make_admin", "make_developer", "make_viewer", "remove")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).prefetch_related("user")

    def own_matches(self, term: str) -> Q:
        users = User.objects.filter(email__startswith=normalised_email(term))
        return Q(user__in=list(users.values_list("pk", flat=True)[:MAX_SEARCH_OWNERS]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return has_permission(request, "tenants.add_membership")

    def save_model(self, request: HttpRequest, obj: Membership, form: ModelForm, change: bool) -> None:
        obj.pk = Membership.objects.admit(obj.tenant, obj.user, obj.role, actor_of(request)).pk

    def _set_role(self, request: HttpRequest, members: QuerySet[Membership], role: str) -> None:
        self.apply_to_each(request, members, lambda m: m.change_role(role, actor_of(request)), f"Made {role}")

    @admin.action(description="Make admin", permissions=["manage"])
    def make_admin(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "admin")

    @admin.action(description="Make developer", permissions=["manage"])
    def make_developer(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "developer")

    @admin.action(description="Make viewer", permissions=["manage"])
    def make_viewer(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self._set_role(request, members, "viewer")

    @admin.action(description="Remove from the tenant", permissions=["manage"])
    def remove(self, request: HttpRequest, members: QuerySet[Membership]) -> None:
        self.apply_to_each(request, members, lambda member: member.remove(actor_of(request)), "Removed")


@admin.register(Invitation)
class InvitationAdmin(DomainErrorMessages, TenantOwnedAdmin):
    list_display = ("email", "tenant", "role", "state", "expires_at", "created_at")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter))
    fields = (
        "tenant",
        "email",
        "role",
        "state",
        "invited_by",
        "expires_at",
        "accepted_at",
        "revoked_at",
        "created_at",
    )
    own_search_fields = ("email",)
    actions = ("revoke",)

    @admin.action(description="Revoke", permissions=["manage"])
    def revoke(self, request: HttpRequest, invitations: QuerySet[Invitation]) -> None:
        self.apply_to_each(request, invitations, lambda row: row.revoke(actor_of(request)), "Revoked")
