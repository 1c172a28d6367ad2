"""Memberships, roles, the plan, and login sessions: changed for the caller's own tenant and user only."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from django.test import override_settings

import accounts.models
from accounts.models import RefreshToken, User
from core.audit.models import AuditEvent
from qa.isolation.callers import Caller, Kind
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.probes.registry import has_status, probe
from qa.isolation.tenant_fixtures import actor
from tenants.models import ApiKey, Invitation, Plan, api_key


@probe
def members_see_and_end_only_their_own_membership(matrix: Matrix) -> Iterator[str]:
    members = f"/api/tenants/{matrix.dataset.acme.tenant.pk}/members"
    for name in ("viewer", "developer", "admin"):
        own, caller = f"{members}/{matrix.dataset.users[name].pk}", matrix.dataset[name]
        yield from has_status(matrix.request("GET", own, caller), 200, f"{name} reads its own")
        changed = matrix.request("PATCH", own, caller, body={"role": "admin"})
        yield from has_status(changed, 200 if name == "admin" else 403, f"{name} changes its own")
        yield from has_status(matrix.request("DELETE", own, caller), 204, f"{name} ends its own")
    ended = f"{members}/{matrix.dataset.users['viewer'].pk}"
    answer = matrix.request("GET", ended, matrix.dataset["viewer"])
    yield from has_status(answer, 404, "the former viewer reads the ended one")


@probe
def the_last_admin_cannot_leave(matrix: Matrix) -> Iterator[str]:
    umbrella, caller = matrix.dataset.umbrella, matrix.dataset["other admin"]
    own = f"/api/tenants/{umbrella.tenant.pk}/members/{umbrella.admin.pk}"
    yield from has_status(matrix.request("DELETE", own, caller), 409, "leaving")
    changed = matrix.request("PATCH", own, caller, body={"role": "viewer"})
    yield from has_status(changed, 409, "taking a lesser role")


@probe
def an_invitation_needs_an_inviter_who_is_an_admin_of_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.dataset.acme, matrix.dataset.umbrella
    invited = matrix.dataset.users["former member"]
    sent = Invitation.objects.send(acme.tenant, email=invited.email, role="viewer", by=actor(umbrella.admin))
    caller, body = matrix.dataset["former member"], {"token": sent.token}
    answer = matrix.request("POST", "/api/invitations/accept", caller, body=body)
    yield from has_status(answer, 409, "accepting one of another tenant's admin")


@probe
def an_admins_invitation_is_accepted(matrix: Matrix) -> Iterator[str]:
    acme, invited = matrix.dataset.acme, matrix.dataset.users["former member"]
    sent = Invitation.objects.send(acme.tenant, email=invited.email, role="viewer", by=actor(acme.admin))
    caller, body = matrix.dataset["former member"], {"token": sent.token}
    answer = matrix.request("POST", "/api/invitations/accept", caller, body=body)
    yield from has_status(answer, 200, "accepting it")


@probe
def an_invited_address_does_not_register_without_its_token(matrix: Matrix) -> Iterator[str]:
    acme, new, other = matrix.dataset.acme, "new@example.com", "other@example.com"
    of_new, of_other = (
        Invitation.objects.send(acme.tenant, email=email, role="viewer", by=actor(acme.admin)).token
        for email in (new, other)
    )
    of_deleted, invited_by_deleted = (
        matrix.dataset.deleted_tenants_invitation_token,
        matrix.dataset.users["former member"].email,
    )
    for email, token, expected in (
        (new, "inv_missing", 403),
        (new, of_other, 403),
        (invited_by_deleted, of_deleted, 403),
        (new, of_new, 201),
    ):
        body = {"email": email, "password": "correct horse battery", "invitation": token}
        with override_settings(REGISTRATION="invitation"):
            answer = matrix.request("POST", "/api/auth/register", matrix.dataset["anonymous"], body=body)
        yield from has_status(answer, expected, f"{email} with {token}")


@probe
def a_removal_ends_and_shows_nothing_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.dataset.acme, matrix.dataset.umbrella
    member = umbrella.admin
    by = actor(member)
    kept = Invitation.objects.send(umbrella.tenant, email="kept@example.com", role="viewer", by=by)
    key = ApiKey.objects.issue(umbrella.tenant, by=by, name="x", kind="sk", environment="live").key
    acme.tenant.memberships.create(user=member, role="admin")
    path = f"/api/tenants/{acme.tenant.pk}/members/{member.pk}"
    yield from has_status(matrix.request("DELETE", path, matrix.dataset["admin"]), 204, "the removal")
    if not Invitation.objects.open().filter(pk=kept.invitation.pk).exists():
        yield "it revoked an invitation of another tenant"
    event = AuditEvent.objects.filter(action="member.removed", tenant_id=acme.tenant.pk).first()
    if key.prefix in str(event.changes if event else ""):
        yield "its event lists a key of another tenant"


@probe
def issuing_a_key_deletes_no_key_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    umbrella = matrix.dataset.umbrella
    ended = ApiKey.objects.issue(
        umbrella.tenant, by=actor(umbrella.admin), name="x", kind="sk", environment="live"
    ).key
    ended.revoke(actor(umbrella.admin))
    path = f"/api/tenants/{matrix.dataset.acme.tenant.pk}/api-keys"
    with patch.object(api_key, "MAX_ENDED_KEYS", 1):
        answer = matrix.request("POST", path, matrix.dataset["admin"], body={"name": "New"})
    yield from has_status(answer, 201, "issuing one")
    if not ApiKey.objects.filter(pk=ended.pk).exists():
        yield "it deleted one of another tenant"


@probe
def users_without_a_common_tenant_cannot_be_added_by_id(matrix: Matrix) -> Iterator[str]:
    members = f"/api/tenants/{matrix.dataset.acme.tenant.pk}/members"
    for name in ("hooli", "initech"):
        body = {"user": str(matrix.dataset.fixtures[name].admin.pk), "role": "viewer"}
        answer = matrix.request("POST", members, matrix.dataset["admin"], body=body)
        yield from has_status(answer, 404, f"the admin of {name}")


@probe
def the_list_of_tenants_shows_the_callers_own_role(matrix: Matrix) -> Iterator[str]:
    for name in ("viewer", "developer", "admin"):
        found = matrix.request("GET", "/api/tenants", matrix.dataset[name]).json()["results"]
        if {each["role"] for each in found} != {name}:
            yield f"for {name} it is {found}"


@probe
def login_sessions_are_listed_and_ended_for_one_user(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    for tokens in (first, second):
        answer = _request(matrix, tokens.access, "GET", "/api/auth/sessions")
        if len(answer.json()["results"]) != 1:
            yield f"{len(answer.json()['results'])} are listed"
    yield from has_status(_request(matrix, first.access, "POST", "/api/auth/logout-all"), 204, "logging out")
    refreshed = _refresh(matrix, second.refresh)
    yield from has_status(refreshed, 200, "another user's session afterwards")
    ended = _request(matrix, refreshed.json()["access"], "POST", "/api/auth/logout")
    yield from has_status(ended, 204, "logging out of one session")


@probe
def logging_out_does_not_end_sessions_of_other_users(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    yield from has_status(_request(matrix, first.access, "POST", "/api/auth/logout"), 204, "logging out")
    yield from has_status(_refresh(matrix, second.refresh), 200, "another user's session afterwards")


@probe
def logins_of_other_users_end_no_session(matrix: Matrix) -> Iterator[str]:
    with patch.object(accounts.models, "MAX_SESSIONS", 2):
        first, _, _ = (matrix.log_in(name) for name in ("admin", "viewer", "admin"))
    yield from has_status(_refresh(matrix, first.refresh), 200, "the first of two")


@probe
def only_an_admin_requests_another_plan(matrix: Matrix) -> Iterator[str]:
    path = f"/api/tenants/{matrix.dataset.acme.tenant.pk}"
    for name, expected in (("viewer", 403), ("developer", 403), ("admin", 200), ("sk", 403)):
        answer = matrix.request("PATCH", path, matrix.dataset[name], body={"requested_plan": "enterprise"})
        yield from has_status(answer, expected, f"requested by {name}")


@probe
def tenants_of_another_owner_take_no_room(matrix: Matrix) -> Iterator[str]:
    Plan.objects.update(tenants_per_owner=1)
    for name, expected in (("other admin", 201), ("admin", 201), ("admin", 409)):
        answer = matrix.request("POST", "/api/tenants", matrix.dataset[name], body={"name": "New"})
        yield from has_status(answer, expected, f"one more of {name}")


@probe
def a_login_is_dated_for_one_user(matrix: Matrix) -> Iterator[str]:
    """Even if another user's password had the same hash, which never happens."""
    one, other = matrix.dataset.users["admin"], matrix.dataset.users["viewer"]
    same = User.objects.filter(pk__in=[one.pk, other.pk])
    same.update(password=one.password, last_login=None)
    matrix.log_in("admin")
    if list(same.filter(last_login=None)) != [other]:
        yield "that of another user is dated too"


@probe
def a_login_session_ends_for_one_user(matrix: Matrix) -> Iterator[str]:
    """Even if another user's session had the same id, which never happens."""
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    RefreshToken.objects.filter(family=second.session).update(family=first.session)
    yield from has_status(_request(matrix, first.access, "POST", "/api/auth/logout"), 204, "logging out")
    if not RefreshToken.objects.filter(user=matrix.dataset.users["viewer"], revoked_at=None).exists():
        yield "that of another user has ended too"


def _request(matrix: Matrix, access: str, method: str, path: str) -> Answer:
    return matrix.request(method, path, Caller("logged in", Kind.USER, credential=access))


def _refresh(matrix: Matrix, refresh: str) -> Answer:
    body = {"refresh": refresh}
    return matrix.request("POST", "/api/auth/refresh-token", matrix.dataset["anonymous"], body=body)
