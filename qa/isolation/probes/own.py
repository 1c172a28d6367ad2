"""What is one's own: memberships, roles, logins, wishes."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.models import RefreshToken, User
from qa.isolation.callers import Caller, Kind
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.probes.probe import probe, status


@probe
def everybody_sees_and_ends_their_own_membership_only(matrix: Matrix) -> Iterator[str]:
    members = f"/api/tenants/{matrix.world.acme.tenant.pk}/members"
    for name in ("viewer", "developer", "admin"):
        own = f"{members}/{matrix.world.users[name].pk}"
        yield from status(matrix.request("GET", own, matrix.world[name]), 200, f"that of {name}")
        changed = matrix.request("PATCH", own, matrix.world[name], body={"role": "admin"})
        yield from status(changed, 200 if name == "admin" else 403, f"a change of that of {name}")
        yield from status(
            matrix.request("DELETE", own, matrix.world[name]), 204, f"the end of that of {name}"
        )
    other = f"{members}/{matrix.world.users['viewer'].pk}"
    yield from status(
        matrix.request("GET", other, matrix.world["viewer"]), 404, "what the former viewer asks"
    )


@probe
def the_last_admin_stays(matrix: Matrix) -> Iterator[str]:
    own = f"/api/tenants/{matrix.world.umbrella.tenant.pk}/members/{matrix.world.umbrella.admin.pk}"
    caller = matrix.world["other admin"]
    yield from status(matrix.request("DELETE", own, caller), 409, "leaving")
    yield from status(matrix.request("PATCH", own, caller, body={"role": "viewer"}), 409, "stepping down")


@probe
def strangers_are_not_added_by_their_ids(matrix: Matrix) -> Iterator[str]:
    members = f"/api/tenants/{matrix.world.acme.tenant.pk}/members"
    for name in ("hooli", "initech"):
        body = {"user": str(matrix.world.estates[name].admin.pk), "role": "viewer"}
        answer = matrix.request("POST", members, matrix.world["admin"], body=body)
        yield from status(answer, 404, f"the admin of {name}")


@probe
def a_list_of_tenants_tells_the_callers_own_role(matrix: Matrix) -> Iterator[str]:
    for name in ("viewer", "developer", "admin"):
        found = matrix.request("GET", "/api/tenants", matrix.world[name]).json()["results"]
        if {each["role"] for each in found} != {name}:
            yield f"{name} is told {found}"


@probe
def sessions_of_a_login_are_ones_own(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    for tokens in (first, second):
        answer = _as(matrix, tokens.access, "GET", "/api/auth/sessions")
        if len(answer.json()["results"]) != 1:
            yield f"{len(answer.json()['results'])} are listed"
    yield from status(_as(matrix, first.access, "POST", "/api/auth/logout-all"), 204, "logging out")
    refreshed = matrix.request(
        "POST", "/api/auth/refresh-token", matrix.world["anonymous"], body={"refresh": second.refresh}
    )
    yield from status(refreshed, 200, "another's session after that")
    ended = _as(matrix, refreshed.json()["access"], "POST", "/api/auth/logout")
    yield from status(ended, 204, "logging out of one session")


@probe
def an_ended_session_spares_those_of_others(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    yield from status(_as(matrix, first.access, "POST", "/api/auth/logout"), 204, "logging out")
    body = {"refresh": second.refresh}
    answer = matrix.request("POST", "/api/auth/refresh-token", matrix.world["anonymous"], body=body)
    yield from status(answer, 200, "another's session after that")


@probe
def another_plan_is_an_admins_wish(matrix: Matrix) -> Iterator[str]:
    path = f"/api/tenants/{matrix.world.acme.tenant.pk}"
    for name, expected in (("viewer", 403), ("developer", 403), ("admin", 200), ("sk", 403)):
        answer = matrix.request("PATCH", path, matrix.world[name], body={"requested_plan": "enterprise"})
        yield from status(answer, expected, f"that of {name}")


@probe
def a_login_is_dated_for_one_person_only(matrix: Matrix) -> Iterator[str]:
    """Even if another's password were stored as the same hash, as none of ours is."""
    one, other = matrix.world.users["admin"], matrix.world.users["viewer"]
    same = User.objects.filter(pk__in=[one.pk, other.pk])
    same.update(password=one.password, last_login=None)
    matrix.log_in("admin")
    if list(same.filter(last_login=None)) != [other]:
        yield "another's is dated, too"


@probe
def a_session_ends_for_one_person_only(matrix: Matrix) -> Iterator[str]:
    """Even if another's had the same number, as none of ours has."""
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    theirs = RefreshToken.objects.filter(family=second.session)
    theirs.update(family=first.session)
    yield from status(_as(matrix, first.access, "POST", "/api/auth/logout"), 204, "logging out")
    if not RefreshToken.objects.filter(user=matrix.world.users["viewer"], revoked_at=None).exists():
        yield "another's ended with it"


def _as(matrix: Matrix, access: str, method: str, path: str) -> Answer:
    return matrix.request(method, path, Caller("somebody", Kind.PERSON, credential=access))
