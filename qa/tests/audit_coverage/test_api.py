"""Changes by the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import RequestFactory

from qa.testing.accounts import PASSWORD
from qa.testing.urls import url_patterns
from qa.tests.audit_coverage.setup import NEW_WEBHOOK, Setup, event_of_request

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

CONVERSATION = "Part of a conversation, whose messages are stored with their authors and times."

#: Routes that record nothing, each with the reason.
UNRECORDED = {
    "POST api/auth/refresh-token": "The login is recorded; a reused token is recorded as a denial.",
    "POST api/auth/password-reset": "Recorded in the background, without its sender, who is not known.",
    "POST api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>/test": "Sends a test, changes no setting.",
    "POST api/chat": CONVERSATION,
    "POST api/chat/sessions": CONVERSATION,
    "PUT api/chat/sessions/<str:session_id>": CONVERSATION,
    "PATCH api/chat/sessions/<str:session_id>": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages/<str:message_id>/cancel": CONVERSATION,
    "POST api/chat/sessions/<str:session_id>/messages/<str:message_id>/retry": CONVERSATION,
    "PUT api/chat/sessions/<str:session_id>/messages/<str:message_id>/feedback": CONVERSATION,
    "POST api/chat/tenants/<str:tenant_id>/visitor-tokens": (
        "A part of every page that a visitor opens. The visitor's identity is stored with its key and times."
    ),
    "DELETE api/chat/visitor": "A visitor signs out; visitors are in no trail.",
    "POST v1/chat/completions": "Recorded in the ledger, with its key; nothing else is stored.",
}

NEW_USER = {"email": "new@example.com", "password": PASSWORD}

#: All other routes: the audit action, and a request that succeeds.
RECORDED: dict[str, tuple[str, Callable[[Setup], Any]]] = {
    "POST api/llm/test": ("user.providers_tested", Setup.test_providers),
    "POST api/auth/register": ("user.registered", lambda s: s.client.post("/api/auth/register", NEW_USER)),
    "POST api/auth/login": ("user.logged_in", Setup.log_in),
    "POST api/auth/logout": ("user.logged_out", Setup.log_out),
    "POST api/auth/logout-all": ("user.sessions_ended", lambda s: s.client.post("/api/auth/logout-all")),
    "PUT api/auth/profile": ("user.updated", lambda s: s.client.put("/api/auth/profile", {"name": "New"})),
    "PATCH api/auth/profile": (
        "user.updated",
        lambda s: s.client.patch("/api/auth/profile", {"name": "New"}),
    ),
    "POST api/auth/confirm-email": ("user.email_confirmed", Setup.confirm_email),
    "POST api/auth/password-reset/confirm": ("user.password_changed", Setup.reset_password),
    "PUT api/auth/change-password": ("user.password_changed", Setup.change_password),
    "POST api/tenants": ("tenant.created", lambda s: s.client.post("/api/tenants", {"name": "New"})),
    "PUT api/tenants/<str:tenant_id>": ("tenant.updated", lambda s: s.client.put(s.tenant, {"name": "New"})),
    "PATCH api/tenants/<str:tenant_id>": (
        "tenant.updated",
        lambda s: s.client.patch(s.tenant, {"settings": {"max_tokens": 5}}),
    ),
    "DELETE api/tenants/<str:tenant_id>": ("tenant.deleted", lambda s: s.client.delete(s.tenant)),
    "POST api/tenants/<str:tenant_id>/members": (
        "member.added",
        lambda s: s.client.post(f"{s.tenant}/members", {"user": str(s.fellow_member.pk), "role": "viewer"}),
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
    "POST api/invitations/accept": ("member.added", Setup.accept_invitation),
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
        lambda s: s.client.post(f"{s.tenant}/webhooks", NEW_WEBHOOK),
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
    "DELETE api/chat/tenants/<str:tenant_id>/visitor-tokens/<path:visitor_id>": (
        "visitor.tokens_revoked",
        Setup.revoke_visitor_tokens,
    ),
    "DELETE api/chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>": (
        "visitor.erased",
        lambda s: s.client.delete(f"/api/chat/tenants/{s.session.tenant_id}/visitors/v_1"),
    ),
}


def mutating_routes() -> Iterator[str]:
    """Yield `METHOD route` for every unsafe method of every view outside the console."""
    for route, pattern in url_patterns():
        if not route.startswith("admin/"):
            yield from (f"{method} {route}" for method in UNSAFE if allows(pattern.callback, method))


def allows(view: Any, method: str) -> bool:
    """Whether a view allows a method. A plain function allows all that it does not refuse."""
    view_class = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if view_class is None:
        arguments = {"rest": "x"} if view.__name__ == "unknown_path" else {}
        return view(RequestFactory().generic(method, "/"), **arguments).status_code not in (404, 405)
    rights = getattr(view_class, "rights", None)
    has_right = rights is None or {"PATCH": "PUT"}.get(method, method) in rights
    actions = getattr(view, "actions", None)
    return has_right and (method.lower() in actions if actions else hasattr(view_class, method.lower()))


def test_every_mutating_route_is_listed():
    assert set(mutating_routes()) == set(RECORDED) | set(UNRECORDED)
    assert not set(RECORDED) & set(UNRECORDED)


@pytest.mark.parametrize("route", RECORDED)
def test_a_change_by_the_api_is_recorded(setup: Setup, route: str):
    action, send = RECORDED[route]

    response = send(setup)

    assert response.status_code < 300, response.content
    event = event_of_request(action)
    assert event.actor_name in ("alice@example.com", "eve@example.com", "new@example.com")
    assert event.actor_id is not None
    assert (event.tenant_id is None) == action.startswith("user.")
    assert event.reason == ""
