from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.events import tell
from accounts.forms import NewUserForm, UserForm
from accounts.models import RefreshToken, User, normalised_email

#: People whose sessions one search may show; a longer list says that the search was too broad.
FOUND_PEOPLE = 100

#: What a form of the console may change, weightiest first, and what the trail calls it. No password.
_CALLED = {
    "is_active": "activated",
    "is_superuser": "rights_changed",
    "is_staff": "rights_changed",
    "groups": "rights_changed",
    "user_permissions": "rights_changed",
    "permissions": "rights_changed",
    "email": "updated",
    "name": "updated",
}


class ToldOf(admin.ModelAdmin):
    """Tells of what is added and changed by a form."""

    def save_model(self, request: HttpRequest, obj: Model, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changes = {
            name: (_shown(form.initial.get(name)) if change else None, _shown(form.cleaned_data[name]))
            for name in _CALLED
            if name in form.changed_data
        }
        if not changes:
            return
        what = _CALLED[next(iter(changes))] if change else "created"
        if what == "activated" and not obj.is_active:
            what = "deactivated"
        tell(f"{obj._meta.model_name}.{what}", obj, request, changes)


def _shown(value: Any) -> Any:
    """Return the names of related rows, sorted, and anything else as it is."""
    return sorted(map(str, value)) if isinstance(value, list | QuerySet) else value


@admin.register(User)
class UserAdmin(ToldOf, DjangoUserAdmin):
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

    def get_object(self, request: HttpRequest, *args: Any, **options: Any) -> User | None:
        user = super().get_object(request, *args, **options)
        if user is not None:
            user.changed_by = request
        return user

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """People are deactivated: what they own and did would vanish with them."""
        return False

    @admin.action(description="End all sessions of the selected people", permissions=["change"])
    def end_sessions(self, request: HttpRequest, people: QuerySet[User]) -> None:
        count = 0
        for user in people:
            user.end_sessions()
            tell("user.sessions_ended", user, request)
            count += 1
        self.message_user(
            request, f"All sessions of {count} {'person' if count == 1 else 'people'} are ended."
        )


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(ToldOf, DjangoGroupAdmin):
    """Rights that staff have together."""

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        tell("group.deleted", obj, request)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        for group in queryset:
            self.delete_model(request, group)


@admin.register(RefreshToken)
class RefreshTokenAdmin(admin.ModelAdmin):
    """To read; ending a session is the one thing to do here."""

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
        # Two queries: a filter across the relation would join the whole collection.
        if not search_term.strip():
            return queryset, False
        people = User.objects.filter(email__startswith=normalised_email(search_term))
        return queryset.filter(user__in=list(people.values_list("pk", flat=True)[:FOUND_PEOPLE])), False

    @admin.display(description="state")
    def state(self, token: RefreshToken) -> str:
        return "revoked" if token.revoked_at else "used" if token.used_at else "live"

    @admin.action(description="End the selected sessions", permissions=["view"])
    def end_sessions(self, request: HttpRequest, sessions: QuerySet[RefreshToken]) -> None:
        for token in sessions:
            if token.user.end_session(token.family):
                tell("user.session_ended", token.user, request, {"session": (token.family, None)})
        self.message_user(request, "The selected sessions are ended.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefreshToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RefreshToken | None = None) -> bool:
        return False
