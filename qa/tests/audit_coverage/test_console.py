"""Changes by staff in the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import RefreshToken, User
from qa.testing.accounts import PASSWORD
from qa.tests.audit_coverage.setup import Setup, acme_with, event_of_request
from tenants.models import Membership, Plan, Tenant


def apply_action(path: str, action: str, row: Callable[[Setup], Model]) -> Callable[[Setup, Client], None]:
    """Apply an action to one object of a list."""
    return lambda setup, staff: staff.post(
        f"/admin/{path}/", {"action": action, "_selected_action": str(row(setup).pk), "post": "yes"}
    )


def submit_form(
    path: str, row: Callable[[Setup], Model] | None, **fields: Any
) -> Callable[[Setup, Client], None]:
    """Submit the form that changes an object, or the one that adds one."""
    return lambda setup, staff: staff.post(
        f"/admin/{path}/{row(setup).pk}/change/" if row else f"/admin/{path}/add/",
        {name: value(setup) if callable(value) else value for name, value in fields.items()},
    )


def membership(setup: Setup) -> Membership:
    return setup.acme.memberships.get(user=setup.bob)


def plan(setup: Setup) -> Plan:
    return setup.acme.plan


def acme(setup: Setup) -> Tenant:
    return setup.acme


def login_session(setup: Setup) -> RefreshToken:
    setup.logged_in_client()
    return setup.alice.refresh_tokens.get()


def support(setup: Setup) -> Group:
    return Group.objects.get_or_create(name="Support")[0]


NEW_PASSWORDS = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}

#: All that staff can do in the console: (model, what) -> (audit action, how).
CONSOLE: dict[tuple[str, str], tuple[str, Callable[[Setup, Client], None]]] = {
    ("auth.group", "add"): ("group.created", submit_form("auth/group", None, name="New")),
    ("auth.group", "change"): ("group.updated", submit_form("auth/group", support, name="New")),
    ("auth.group", "delete"): ("group.deleted", apply_action("auth/group", "delete_selected", support)),
    ("accounts.user", "add"): (
        "user.created",
        submit_form("accounts/user", None, email="new@example.com", **NEW_PASSWORDS),
    ),
    ("accounts.user", "change"): (
        "user.deactivated",
        submit_form("accounts/user", lambda s: s.bob, email="bob@example.com", name="Bob"),
    ),
    ("accounts.user", "end_sessions"): (
        "user.sessions_ended",
        apply_action("accounts/user", "end_sessions", lambda s: s.bob),
    ),
    ("accounts.refreshtoken", "end_sessions"): (
        "user.session_ended",
        apply_action("accounts/refreshtoken", "end_sessions", login_session),
    ),
    ("tenants.plan", "add"): (
        "plan.created",
        submit_form(
            "tenants/plan", None, code="new", name="New", streaming="on", unpriced="allow", max_members="3"
        ),
    ),
    ("tenants.plan", "change"): (
        "plan.changed",
        submit_form("tenants/plan", plan, name="Pro", unpriced="allow", max_members="3"),
    ),
    ("tenants.tenant", "change"): (
        "tenant.updated",
        submit_form(
            "tenants/tenant",
            acme,
            name="New",
            plan=lambda s: str(s.acme.plan_id),
            allowed_origins="",
            route="",
        ),
    ),
    ("tenants.tenant", "suspend"): ("tenant.suspended", apply_action("tenants/tenant", "suspend", acme)),
    ("tenants.tenant", "resume"): (
        "tenant.resumed",
        apply_action("tenants/tenant", "resume", acme_with(status="suspended")),
    ),
    ("tenants.tenant", "grant_requested_plan"): (
        "tenant.plan_changed",
        apply_action(
            "tenants/tenant",
            "grant_requested_plan",
            acme_with(requested_plan=lambda s: Plan.objects.get(code="enterprise")),
        ),
    ),
    ("tenants.tenant", "soft_delete"): (
        "tenant.deleted",
        apply_action("tenants/tenant", "soft_delete", acme),
    ),
    ("tenants.tenant", "restore"): (
        "tenant.restored",
        apply_action("tenants/tenant", "restore", acme_with(deleted_at=lambda s: timezone.now())),
    ),
    ("tenants.membership", "add"): (
        "member.added",
        submit_form(
            "tenants/membership",
            None,
            tenant=lambda s: str(s.acme.pk),
            user=lambda s: str(s.eve.pk),
            role="viewer",
        ),
    ),
    ("tenants.membership", "make_admin"): (
        "member.role_changed",
        apply_action("tenants/membership", "make_admin", membership),
    ),
    ("tenants.membership", "make_developer"): (
        "member.role_changed",
        apply_action("tenants/membership", "make_developer", membership),
    ),
    ("tenants.membership", "make_viewer"): (
        "member.role_changed",
        apply_action(
            "tenants/membership",
            "make_viewer",
            lambda s: s.acme.memberships.create(user=s.eve, role="developer"),
        ),
    ),
    ("tenants.membership", "remove"): (
        "member.removed",
        apply_action("tenants/membership", "remove", membership),
    ),
    ("tenants.invitation", "revoke"): (
        "invitation.revoked",
        apply_action("tenants/invitation", "revoke", lambda s: s.invitation),
    ),
    ("tenants.apikey", "add"): (
        "api_key.issued",
        submit_form(
            "tenants/apikey",
            None,
            tenant=lambda s: str(s.acme.pk),
            name="New",
            kind="sk",
            environment="live",
            scopes="usage:read",
            allowed_origins="",
            allowed_networks="",
            allowed_models="",
        ),
    ),
    ("tenants.apikey", "revoke"): (
        "api_key.revoked",
        apply_action("tenants/apikey", "revoke", lambda s: s.key),
    ),
    ("tenants.apikey", "rotate"): (
        "api_key.rotated",
        apply_action("tenants/apikey", "rotate", lambda s: s.key),
    ),
    ("chat.chatsession", "delete"): (
        "session.erased",
        apply_action("chat/chatsession", "delete_selected", lambda s: s.session),
    ),
}


@pytest.fixture
def staff(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com"))
    return client


def permitted(pages: ModelAdmin, request: Any) -> set[str]:
    """Return what the user of `request` can do on the pages of one model."""
    permissions = {
        "add": pages.has_add_permission(request),
        "change": pages.has_change_permission(request),
        "delete": pages.has_delete_permission(request),
    }
    return {what for what, allowed in permissions.items() if allowed} | set(pages.get_actions(request)) - {
        "delete_selected"  # The same as "delete", for several objects.
    }


def test_everything_that_staff_can_do_is_listed(staff):
    request = RequestFactory().get("/admin/")
    request.user = User.objects.get(email="staff@example.com")

    found = {
        (model._meta.label_lower, what)
        for model, pages in admin.site._registry.items()
        for what in permitted(pages, request)
    }

    assert found == set(CONSOLE)


@pytest.mark.parametrize(("model", "what"), CONSOLE)
def test_a_change_in_the_console_is_recorded(setup: Setup, staff: Client, model: str, what: str):
    action, do = CONSOLE[model, what]

    do(setup, staff)

    event = event_of_request(action)
    assert event.actor_name == "staff@example.com"
    assert (event.tenant_id is None) == action.startswith(("user.", "group.", "plan."))
