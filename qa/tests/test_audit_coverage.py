"""Nothing is changed without a line in the audit trail, unless a reason is given here why not.

Generated from the URL resolver, the console's registry and the commands: what is added to them fails here
until it leaves a line or states its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import Group
from django.core.management import call_command, get_commands
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.response import Response

from accounts.models import RefreshToken, User
from chat.models import ChatSession
from core.audit.models import AuditEvent
from qa.testing.accounts import PASSWORD
from qa.testing.tenants import by, fellow_member, issue, signed_in
from tenants.models import ApiKey, Invitation, Membership, Plan, Tenant, Usage, Webhook

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

CONVERSATION = "Part of a conversation, which is its own record of who said what when."
NOTHING_CHANGES = "Changes nothing."

#: Routes that leave no line, each with its reason.
UNRECORDED = {
    "POST api/auth/refresh-token": "The session was recorded at its login; a token used twice is a refusal.",
    "POST api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>/test": "Sends a test, changes no setting.",
    "POST api/chat": CONVERSATION,
    "POST api/chat/sessions": CONVERSATION,
    "PUT api/chat/sessions/<str:session_id>": CONVERSATION,
    "PATCH api/chat/sessions/<str:session_id>": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages/<str:message_id>/cancel": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages/<str:message_id>/retry": CONVERSATION,
    "PUT api/chat/sessions/<str:session_id>/messages/<str:message_id>/feedback": CONVERSATION,
    "POST v1/chat/completions": "On the ledger, with its key; nothing else is stored.",
    "POST api/llm/test": NOTHING_CHANGES,
}


@dataclass
class Stage:
    """Alice administers Acme and is signed in; bob is a viewer there, eve has no account or no place yet."""

    acme: Tenant
    alice: User
    bob: User

    @cached_property
    def client(self) -> Any:
        return signed_in(self.alice)

    @cached_property
    def tenant(self) -> str:
        return f"/api/tenants/{self.acme.pk}"

    @cached_property
    def eve(self) -> User:
        return User.objects.create_user("eve@example.com", PASSWORD)

    @cached_property
    def carol(self) -> User:
        """Somebody of another tenant of Alice's."""
        return fellow_member(self.alice)

    @cached_property
    def key(self) -> ApiKey:
        return issue(self.acme, self.alice).key

    @cached_property
    def webhook(self) -> Webhook:
        return Webhook.objects.register(self.acme, by=by(self.alice), **NEW_HOOK).webhook

    @cached_property
    def session(self) -> ChatSession:
        return ChatSession.objects.create(tenant=self.acme, visitor="v_1")

    @cached_property
    def invitation(self) -> Invitation:
        return self.invited().invitation

    def invited(self) -> Any:
        return Invitation.objects.send(self.acme, email="eve@example.com", role="viewer", by=by(self.alice))

    def accept(self) -> Response:
        return signed_in(self.eve).post("/api/invitations/accept", {"token": self.invited().token})

    def logged_in(self) -> Any:
        """Alice once more, in a session that the database knows."""
        self.alice.set_password(PASSWORD)
        self.alice.save()
        client = Client()
        pair = client.post(
            "/api/auth/login", {"email": self.alice.email, "password": PASSWORD}, "application/json"
        ).json()
        client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {pair['access']}"
        return client

    def change_password(self) -> Response:
        body = {"current_password": PASSWORD, "new_password": "quite another phrase"}
        return self.logged_in().put("/api/auth/change-password", body, "application/json")

    def log_in(self) -> Response:
        self.eve  # noqa: B018 - makes the account
        body = {"email": "eve@example.com", "password": PASSWORD}
        return self.client.post("/api/auth/login", body)


NEW_PERSON = {"email": "new@example.com", "password": PASSWORD}
NEW_HOOK = {"url": "https://hooks.example/", "events": ["api_key.issued"]}

#: To every other route a request that succeeds, and the action that stands in the trail for it.
RECORDED: dict[str, tuple[str, Callable[[Stage], Response]]] = {
    "POST api/auth/register": ("user.registered", lambda s: s.client.post("/api/auth/register", NEW_PERSON)),
    "POST api/auth/login": ("user.logged_in", Stage.log_in),
    "POST api/auth/logout": (
        "user.logged_out",
        lambda s: s.logged_in().post("/api/auth/logout", {}, "application/json"),
    ),
    "POST api/auth/logout-all": ("user.sessions_ended", lambda s: s.client.post("/api/auth/logout-all")),
    "PUT api/auth/profile": ("user.updated", lambda s: s.client.put("/api/auth/profile", {"name": "New"})),
    "PATCH api/auth/profile": (
        "user.updated",
        lambda s: s.client.patch("/api/auth/profile", {"name": "New"}),
    ),
    "PUT api/auth/change-password": ("user.password_changed", Stage.change_password),
    "POST api/tenants": ("tenant.created", lambda s: s.client.post("/api/tenants", {"name": "New"})),
    "PUT api/tenants/<str:tenant_id>": ("tenant.updated", lambda s: s.client.put(s.tenant, {"name": "New"})),
    "PATCH api/tenants/<str:tenant_id>": (
        "tenant.updated",
        lambda s: s.client.patch(s.tenant, {"settings": {"max_tokens": 5}}),
    ),
    "DELETE api/tenants/<str:tenant_id>": ("tenant.deleted", lambda s: s.client.delete(s.tenant)),
    "POST api/tenants/<str:tenant_id>/members": (
        "member.added",
        lambda s: s.client.post(
            f"{s.tenant}/members", {"user": str(fellow_member(s.alice).pk), "role": "viewer"}
        ),
    ),
    "PATCH api/tenants/<str:tenant_id>/members/<str:user_id>": (
        "member.role_changed",
        lambda s: s.client.patch(f"{s.tenant}/members/{s.bob.pk}", {"role": "developer"}),
    ),
    "DELETE api/tenants/<str:tenant_id>/members/<str:user_id>": (
        "member.removed",
        lambda s: s.client.delete(f"{s.tenant}/members/{s.bob.pk}"),
    ),
    "POST api/tenants/<str:tenant_id>/invitations": (
        "invitation.sent",
        lambda s: s.client.post(f"{s.tenant}/invitations", {"email": "eve@example.com", "role": "viewer"}),
    ),
    "DELETE api/tenants/<str:tenant_id>/invitations/<str:invitation_id>": (
        "invitation.revoked",
        lambda s: s.client.delete(f"{s.tenant}/invitations/{s.invitation.pk}"),
    ),
    "POST api/invitations/accept": ("member.added", Stage.accept),
    "POST api/tenants/<str:tenant_id>/api-keys": (
        "api_key.issued",
        lambda s: s.client.post(f"{s.tenant}/api-keys", {"name": "New"}),
    ),
    "DELETE api/tenants/<str:tenant_id>/api-keys/<str:key_id>": (
        "api_key.revoked",
        lambda s: s.client.delete(f"{s.tenant}/api-keys/{s.key.pk}"),
    ),
    "POST api/tenants/<str:tenant_id>/api-keys/<str:key_id>/rotate": (
        "api_key.rotated",
        lambda s: s.client.post(f"{s.tenant}/api-keys/{s.key.pk}/rotate", {}),
    ),
    "POST api/tenants/<str:tenant_id>/webhooks": (
        "webhook.created",
        lambda s: s.client.post(f"{s.tenant}/webhooks", NEW_HOOK),
    ),
    "PATCH api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>": (
        "webhook.changed",
        lambda s: s.client.patch(f"{s.tenant}/webhooks/{s.webhook.pk}", {"enabled": False}),
    ),
    "DELETE api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>": (
        "webhook.deleted",
        lambda s: s.client.delete(f"{s.tenant}/webhooks/{s.webhook.pk}"),
    ),
    "DELETE api/chat/sessions/<str:session_id>": (
        "session.erased",
        lambda s: s.client.delete(f"/api/chat/sessions/{s.session.pk}"),
    ),
    "DELETE api/chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>": (
        "visitor.erased",
        lambda s: s.client.delete(f"/api/chat/tenants/{s.session.tenant_id}/visitors/v_1"),
    ),
}


def mutating_routes() -> Iterator[str]:
    """Yield `METHOD route` for all that the resolver sends to a view which offers the method."""

    def below(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for each in resolver.url_patterns:
            path = prefix + str(each.pattern)
            if isinstance(each, URLResolver):
                yield from below(each, path)
            else:
                yield path, each

    for route, pattern in below(get_resolver(), ""):
        if not route.startswith("admin/"):
            yield from (f"{method} {route}" for method in UNSAFE if offers(pattern.callback, method))


def offers(view: Any, method: str) -> bool:
    """Whether a view lets a method in at all. A plain function lets all in that it does not refuse."""
    view_class = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if view_class is None:
        arguments = {"rest": "x"} if view.__name__ == "unknown_path" else {}
        return view(RequestFactory().generic(method, "/"), **arguments).status_code not in (404, 405)
    rights = getattr(view_class, "rights", None)
    listed = rights is None or {"PATCH": "PUT"}.get(method, method) in rights
    actions = getattr(view, "actions", None)
    return listed and (method.lower() in actions if actions else hasattr(view_class, method.lower()))


def test_every_mutating_route_leaves_a_line_or_says_why_not():
    assert set(mutating_routes()) == set(RECORDED) | set(UNRECORDED)
    assert not set(RECORDED) & set(UNRECORDED)


@pytest.fixture
def stage(acme, alice, bob) -> Stage:
    return Stage(acme, alice, bob)


def recorded_at_a_distance(action: str) -> AuditEvent:
    """Return the one event of a request; what the stage was set with came from nowhere."""
    (event,) = AuditEvent.objects.filter(action=action).exclude(address="")
    return event


@pytest.mark.parametrize("route", RECORDED)
def test_a_change_by_the_api_leaves_a_line(stage: Stage, route: str):
    action, send = RECORDED[route]

    answer = send(stage)

    assert answer.status_code < 300, answer.content
    event = recorded_at_a_distance(action)
    assert event.actor_name in ("alice@example.com", "eve@example.com", "new@example.com")
    assert event.actor_id is not None
    assert (event.tenant_id is None) == action.startswith("user.")
    assert event.reason == ""


# -- the console ---------------------------------------------------------------


def select(path: str, action: str, row: Callable[[Stage], Model]) -> Callable[[Stage, Client], None]:
    """Choose an action for one row of a list."""
    return lambda stage, staff: staff.post(
        f"/admin/{path}/", {"action": action, "_selected_action": str(row(stage).pk), "post": "yes"}
    )


def fill_in(
    path: str, row: Callable[[Stage], Model] | None, **fields: Any
) -> Callable[[Stage, Client], None]:
    """Save a form; with a row that of a change."""
    return lambda stage, staff: staff.post(
        f"/admin/{path}/{row(stage).pk}/change/" if row else f"/admin/{path}/add/",
        {name: value(stage) if callable(value) else value for name, value in fields.items()},
    )


def membership(stage: Stage) -> Membership:
    return stage.acme.memberships.get(user=stage.bob)


def plan(stage: Stage) -> Plan:
    return stage.acme.plan


def acme(stage: Stage) -> Tenant:
    return stage.acme


def with_state(**state: Any) -> Callable[[Stage], Tenant]:
    """Acme as an action finds it."""

    def put(stage: Stage) -> Tenant:
        for name, value in state.items():
            setattr(stage.acme, name, value(stage) if callable(value) else value)
        stage.acme.save()
        return stage.acme

    return put


def login(stage: Stage) -> RefreshToken:
    stage.logged_in()
    return stage.alice.refresh_tokens.get()


def support(stage: Stage) -> Group:
    return Group.objects.get_or_create(name="Support")[0]


NEW_PASSWORDS = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}

#: Whatever staff can do at the console: to which model, what, the action that stands for it, and how.
CONSOLE: dict[tuple[str, str], tuple[str, Callable[[Stage, Client], None]]] = {
    ("auth.group", "add"): ("group.created", fill_in("auth/group", None, name="New")),
    ("auth.group", "change"): ("group.updated", fill_in("auth/group", support, name="New")),
    ("auth.group", "delete"): ("group.deleted", select("auth/group", "delete_selected", support)),
    ("accounts.user", "add"): (
        "user.created",
        fill_in("accounts/user", None, email="new@example.com", **NEW_PASSWORDS),
    ),
    ("accounts.user", "change"): (
        "user.deactivated",
        fill_in("accounts/user", lambda s: s.bob, email="bob@example.com", name="Bob"),
    ),
    ("accounts.user", "end_sessions"): (
        "user.sessions_ended",
        select("accounts/user", "end_sessions", lambda s: s.bob),
    ),
    ("accounts.refreshtoken", "end_sessions"): (
        "user.session_ended",
        select("accounts/refreshtoken", "end_sessions", login),
    ),
    ("tenants.plan", "add"): (
        "plan.created",
        fill_in(
            "tenants/plan", None, code="new", name="New", streaming="on", unpriced="allow", max_members="3"
        ),
    ),
    ("tenants.plan", "change"): (
        "plan.changed",
        fill_in("tenants/plan", plan, name="Pro", unpriced="allow", max_members="3"),
    ),
    ("tenants.tenant", "change"): (
        "tenant.updated",
        fill_in(
            "tenants/tenant",
            acme,
            name="New",
            plan=lambda s: str(s.acme.plan_id),
            allowed_origins="",
            route="",
        ),
    ),
    ("tenants.tenant", "suspend"): ("tenant.suspended", select("tenants/tenant", "suspend", acme)),
    ("tenants.tenant", "resume"): (
        "tenant.resumed",
        select("tenants/tenant", "resume", with_state(status="suspended")),
    ),
    ("tenants.tenant", "grant_requested_plan"): (
        "tenant.plan_changed",
        select(
            "tenants/tenant",
            "grant_requested_plan",
            with_state(requested_plan=lambda s: Plan.objects.get(code="enterprise")),
        ),
    ),
    ("tenants.tenant", "soft_delete"): ("tenant.deleted", select("tenants/tenant", "soft_delete", acme)),
    ("tenants.tenant", "restore"): (
        "tenant.restored",
        select("tenants/tenant", "restore", with_state(deleted_at=lambda s: timezone.now())),
    ),
    ("tenants.membership", "add"): (
        "member.added",
        fill_in(
            "tenants/membership",
            None,
            tenant=lambda s: str(s.acme.pk),
            user=lambda s: str(s.eve.pk),
            role="viewer",
        ),
    ),
    ("tenants.membership", "make_admin"): (
        "member.role_changed",
        select("tenants/membership", "make_admin", membership),
    ),
    ("tenants.membership", "make_developer"): (
        "member.role_changed",
        select("tenants/membership", "make_developer", membership),
    ),
    ("tenants.membership", "make_viewer"): (
        "member.role_changed",
        select(
            "tenants/membership",
            "make_viewer",
            lambda s: s.acme.memberships.create(user=s.eve, role="developer"),
        ),
    ),
    ("tenants.membership", "remove"): ("member.removed", select("tenants/membership", "remove", membership)),
    ("tenants.invitation", "revoke"): (
        "invitation.revoked",
        select("tenants/invitation", "revoke", lambda s: s.invitation),
    ),
    ("tenants.apikey", "add"): (
        "api_key.issued",
        fill_in(
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
    ("tenants.apikey", "revoke"): ("api_key.revoked", select("tenants/apikey", "revoke", lambda s: s.key)),
    ("tenants.apikey", "rotate"): ("api_key.rotated", select("tenants/apikey", "rotate", lambda s: s.key)),
    ("chat.chatsession", "delete"): (
        "session.erased",
        select("chat/chatsession", "delete_selected", lambda s: s.session),
    ),
}


@pytest.fixture
def staff(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com"))
    return client


def doable(pages: ModelAdmin, request: Any) -> set[str]:
    """What a superuser can do at the pages of one model."""
    can = {
        "add": pages.has_add_permission(request),
        "change": pages.has_change_permission(request),
        "delete": pages.has_delete_permission(request),
    }
    return {what for what, allowed in can.items() if allowed} | set(pages.get_actions(request)) - {
        "delete_selected"  # The same as "delete", for several.
    }


def test_whatever_staff_can_do_is_listed(staff):
    request = RequestFactory().get("/admin/")
    request.user = User.objects.get(email="staff@example.com")

    found = {
        (model._meta.label_lower, what)
        for model, pages in admin.site._registry.items()
        for what in doable(pages, request)
    }

    assert found == set(CONSOLE)


@pytest.mark.parametrize(("model", "what"), CONSOLE)
def test_a_change_at_the_console_leaves_a_line(stage: Stage, staff: Client, model: str, what: str):
    action, do = CONSOLE[model, what]

    do(stage, staff)

    event = recorded_at_a_distance(action)
    assert event.actor_name == "staff@example.com"
    assert (event.tenant_id is None) == action.startswith(("user.", "group.", "plan."))


# -- commands ------------------------------------------------------------------

#: Our commands that leave no line, each with its reason.
UNRECORDED_COMMANDS = {
    "chaos": NOTHING_CHANGES,
    "check_isolation": "Works on a database of its own.",
    "deliver_webhooks": "Sends what is queued.",
    "demo": "A conversation by the API, whose routes are above.",
    "fake_provider": NOTHING_CHANGES,
    "models": NOTHING_CHANGES,
    "prune": "Leaves a manifest, which is never changed. Who wanted it is on record: the term is a setting.",
    "rollup_analytics": "Figures derived from messages.",
    "run_jobs": "Runs other commands, each of which is here.",
    "send_usage_alerts": "Tells of limits, changes none.",
    "serve": NOTHING_CHANGES,
    "test_providers": NOTHING_CHANGES,
}


def erase(stage: Stage) -> None:
    call_command("erase", tenant=str(stage.session.tenant_id), visitor="v_1")


def purge(stage: Stage) -> None:
    with_state(deleted_at=timezone.now() - timedelta(days=31))(stage)
    call_command("purge_tenants")


def repair(stage: Stage) -> None:
    Usage.objects.of(stage.acme)
    drifted = {"messages": 5, "tokens": 0, "cost": 0}
    Usage.collection().update_one({"_id": stage.acme.pk}, {"$set": {"months": {"2026-11": drifted}}})
    call_command("verify_ledger", repair=True)


RECORDED_COMMANDS: dict[str, tuple[str, Callable[[Stage], None]]] = {
    "erase": ("visitor.erased", erase),
    "purge_tenants": ("tenant.purged", purge),
    "seed_demo": ("user.password_changed", lambda stage: call_command("seed_demo")),
    "verify_ledger": ("usage.rebuilt", repair),
}


def test_every_command_leaves_a_line_or_says_why_not():
    ours = {
        name for name, app in get_commands().items() if (Path(settings.BASE_DIR) / app.split(".")[0]).is_dir()
    }

    assert ours == set(RECORDED_COMMANDS) | set(UNRECORDED_COMMANDS)


@pytest.mark.parametrize("command", RECORDED_COMMANDS)
def test_a_change_by_a_command_leaves_a_line(stage: Stage, command: str):
    action, run = RECORDED_COMMANDS[command]

    run(stage)

    (event,) = AuditEvent.objects.filter(action=action)
    assert event.actor_name == "system"
