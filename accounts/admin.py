"""Users, groups and sessions in the staff's console."""

from __future__ import annotations

from copy import copy
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from accounts.forms import NewUserForm, StaffPasswordForm, UserForm
from accounts.models import RefreshToken, User, normalised_email
from core.admin import DocumentAdmin
from core.api.actors import actor_of
from core.audit.models import AuditEvent

#: The most users whose sessions one search lists: more matches mean that the search is too broad.
MAX_USERS_FOUND = 100

#: The action that is recorded when a field is changed by a form, most significant field first. No password.
_ACTIONS = {
    "is_active": "activated",
    "is_superuser": "rights_changed",
    "is_staff": "rights_changed",
    "groups": "rights_changed",
    "user_permissions": "rights_changed",
    "permissions": "rights_changed",
    "email": "updated",
    "name": "updated",
}


class AuditedAdmin(admin.ModelAdmin):
    """Records what is added and changed by a form."""

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changes = {
            name: (_readable(form.initial.get(name)) if change else None, _readable(form.cleaned_data[name]))
            for name in _ACTIONS
            if name in form.changed_data
        }
        if not changes:
            return
        verb = _ACTIONS[next(iter(changes))] if change else "created"
        if verb == "activated" and not form.cleaned_data["is_active"]:
            verb = "deactivated"
        action = f"{obj._meta.model_name}.{verb}"
        AuditEvent.objects.record(actor_of(request), action, obj, changes=changes)


def _readable(value: Any) -> Any:
    """Return the sorted names of related objects, and any other value unchanged."""
    return sorted(map(str, value)) if isinstance(value, list | QuerySet) else value


@admin.register(User)
class UserAdmin(AuditedAdmin, DocumentAdmin, DjangoUserAdmin):
    form = UserForm
    add_form = NewUserForm
    list_display = ["email", "name", "is_active", "is_staff", "last_login", "created_at"]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    readonly_fields = ["last_login", "created_at", "updated_at", "sessions"]
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        ("Access", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("History", {"fields": ["last_login", "sessions", "created_at", "updated_at"]}),
    ]
    add_fieldsets = [
        (
            None,
            {"classes": ["wide"], "fields": ["email", "name", "usable_password", "password1", "password2"]},
        ),
    ]
    actions = ["end_sessions"]

    @admin.display(description="sessions")
    def sessions(self, user: User) -> str:
        url = reverse("admin:accounts_refreshtoken_changelist")
        return format_html('<a href="{}?user__id__exact={}">Sessions of {}</a>', url, user.pk, user)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Record the change with its actor, whom Django's page does not pass to the form."""
        page = copy(self)  # All threads share this instance.
        page.change_password_form = StaffPasswordForm.with_actor(actor_of(request))
        return super(UserAdmin, page).user_change_password(request, id, form_url)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Users are deactivated instead: deletion would cascade to what they own."""
        return False

    @admin.action(description="End all sessions of the selected people", permissions=["change"])
    def end_sessions(self, request: HttpRequest, people: QuerySet[User]) -> None:
        count = 0
        for user in people:
            user.end_sessions()
            AuditEvent.objects.record(actor_of(request), "user.sessions_ended", user)
            count += 1
        self.message_user(
            request, f"All sessions of {count} {'person' if count == 1 else 'people'} are ended."
        )


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(AuditedAdmin, DjangoGroupAdmin):
    """Permissions shared by a group of staff."""

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        AuditEvent.objects.record(actor_of(request), "group.deleted", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        for group in queryset:
            self.delete_model(request, group)


@admin.register(RefreshToken)
class RefreshTokenAdmin(admin.ModelAdmin):
    """Read-only, with an action that ends sessions."""

    list_display = ["user", "family", "address", "user_agent", "started_at", "created_at", "state"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), ("used_at", admin.EmptyFieldListFilter)]
    ordering = ["-created_at", "-id"]
    search_fields = ["user"]  # See get_search_results.
    search_help_text = "Beginning of an e-mail address"
    fields = [
        "user",
        "family",
        "address",
        "user_agent",
        "started_at",
        "created_at",
        "used_at",
        "revoked_at",
        "expires_at",
    ]
    actions = ["end_sessions"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RefreshToken]:
        return super().get_queryset(request).prefetch_related("user")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RefreshToken], search_term: str
    ) -> tuple[QuerySet[RefreshToken], bool]:
        # Two queries: a filter across the relation would join whole collections.
        if not search_term.strip():
            return queryset, False
        found = User.objects.filter(email__startswith=normalised_email(search_term))
        return queryset.filter(user__in=list(found.values_list("pk", flat=True)[:MAX_USERS_FOUND])), False

    @admin.display(description="state")
    def state(self, token: RefreshToken) -> str:
        return "revoked" if token.revoked_at else "used" if token.used_at else "live"

    @admin.action(description="End the selected sessions", permissions=["view"])
    def end_sessions(self, request: HttpRequest, sessions: QuerySet[RefreshToken]) -> None:
        for token in sessions:
            if token.user.end_session(token.family):
                changes = {"session": (token.family, None)}
                AuditEvent.objects.record(
                    actor_of(request), "user.session_ended", token.user, changes=changes
                )
        self.message_user(request, "The selected sessions are ended.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefreshToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RefreshToken | None = None) -> bool:
        return False
