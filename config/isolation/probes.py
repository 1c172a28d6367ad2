"""What is no cell of the matrix: ids in queries, cursors, headers and tokens, and locks behind locks.

Each probe yields sentences about what is wrong, and is called by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bson import ObjectId
from django.utils import timezone

from chat.models import ChatSession, Message
from config.isolation.callers import BEARER, Caller, Kind
from config.isolation.cast import visiting
from config.isolation.estate import since
from config.isolation.marks import owners_in
from config.isolation.matrix import Answer, Matrix
from config.isolation.world import LEAVING, LEAVING_UMBRELLA, MAX_INPUT_CHARS
from tenants.access import Access

Probe = Callable[[Matrix], Iterator[str]]

PROBES: dict[str, Probe] = {}


def probe(look: Probe) -> Probe:
    PROBES[look.__name__] = look
    return look


def run(matrix: Matrix, name: str) -> list[str]:
    """Return what the probe found, and leave the world as it was."""
    try:
        return [f"{name}: {wrong}" for wrong in PROBES[name](matrix)]
    finally:
        matrix.fresh()


def _status(answer: Answer, expected: int, of: str) -> Iterator[str]:
    if answer.status != expected:
        yield f"{of} is a {answer.status} instead of {expected}"


def _shows_nothing_of(answer: Answer, owner: str, what: str) -> Iterator[str]:
    if any(shown.startswith(owner) for shown in owners_in(answer.text)):
        yield f"{what} shows what is of {owner}"


def _as(matrix: Matrix, access: str, method: str, path: str) -> Answer:
    return matrix.request(method, path, Caller("somebody", Kind.PERSON, credential=access))


# -- ids elsewhere than in paths and bodies ------------------------------------


@probe
def lists_of_another_tenants_user_are_empty(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.world.acme, matrix.world.umbrella
    path = f"/api/chat/tenants/{acme.tenant.pk}/sessions?user_id={umbrella.admin.pk}"
    answer = matrix.request("GET", path, matrix.world["admin"])
    yield from _status(answer, 200, "the list")
    if answer.json()["results"]:
        yield "it finds sessions"


@probe
def cursors_of_another_tenant_open_nothing(matrix: Matrix) -> Iterator[str]:
    for place in ("tenants/{}/members", "chat/tenants/{}/messages", "chat/tenants/{}/sessions"):
        theirs, ours = (
            f"/api/{place.format(each.tenant.pk)}" for each in (matrix.world.umbrella, matrix.world.acme)
        )
        page = matrix.request("GET", f"{theirs}?page_size=1", matrix.world["other admin"]).json()
        cursor = parse_qs(urlsplit(page["next"] or "?cursor=").query).get("cursor", [""])[0]
        answer = matrix.request("GET", f"{ours}?cursor={cursor}", matrix.world["admin"])
        yield from _status(answer, 200, f"the page of {ours}")
        yield from _shows_nothing_of(answer, "umbrella", f"the page of {ours}")


@probe
def searches_find_nothing_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    for place in ("messages", "sessions"):
        path = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/{place}?search=umbrella&visitor="
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from _shows_nothing_of(answer, "umbrella", path)


@probe
def an_idempotency_key_belongs_to_its_caller(matrix: Matrix) -> Iterator[str]:
    key = {"HTTP_IDEMPOTENCY_KEY": "the-same-key"}
    first = matrix.request("POST", "/api/tenants", matrix.world["other admin"], body={"name": "New"}, **key)
    again = matrix.request("POST", "/api/tenants", matrix.world["admin"], body={"name": "New"}, **key)
    if first.json()["id"] == again.json()["id"]:
        yield "another caller is answered again"
    asked = {"message": "Hi"}
    for name in ("sk of another tenant", "sk"):
        answer = matrix.request("POST", "/api/chat", matrix.world[name], body=asked, **key)
        yield from _status(answer, 200, f"the message of {name}")
        if "Idempotent-Replayed" in answer.headers:
            yield f"{name} is answered again"


@probe
def a_position_in_another_stream_shows_nothing_of_it(matrix: Matrix) -> Iterator[str]:
    session, reply = matrix.world.acme.session.pk, matrix.world.acme.reply.pk
    path = f"/api/chat/sessions/{session}/messages/{reply}/stream"
    answer = matrix.request("GET", path, matrix.world["admin"], HTTP_LAST_EVENT_ID="7:3")
    yield from _status(answer, 200, "the stream")
    yield from _shows_nothing_of(answer, "umbrella", "the stream")


@probe
def a_message_stands_in_its_own_session_only(matrix: Matrix) -> Iterator[str]:
    path = f"/api/chat/sessions/{matrix.world.acme.session.pk}/messages"
    theirs = matrix.world.estates["visitor"].reply.pk
    for name in ("admin", "sk"):
        answer = matrix.request("GET", f"{path}/{theirs}", matrix.world[name])
        missing = matrix.request("GET", f"{path}/{ObjectId()}", matrix.world[name])
        yield from _status(answer, 404, f"a message of another session, asked by {name},")
        if answer.told != missing.told:
            yield f"its 404 for {name} differs from that of a missing one"


@probe
def an_invitation_is_for_its_address(matrix: Matrix) -> Iterator[str]:
    def accept(token: str, name: str = "former member") -> Answer:
        return matrix.request("POST", "/api/invitations/accept", matrix.world[name], body={"token": token})

    nobodys = accept("inv_of_nobody")
    for estate in ("umbrella", "initech"):
        answer = accept(matrix.world.estates[estate].invitation_token)
        if answer.told != nobodys.told:
            yield f"that of {estate} to somebody else is told from one that is not there"


@probe
def a_deleted_tenants_invitation_is_gone(matrix: Matrix) -> Iterator[str]:
    token = {"token": matrix.world.lost_invitation_token}
    answer = matrix.request("POST", "/api/invitations/accept", matrix.world["former member"], body=token)
    yield from _status(answer, 404, "accepting it")


# -- one's own -----------------------------------------------------------------


@probe
def everybody_sees_and_ends_their_own_membership_only(matrix: Matrix) -> Iterator[str]:
    members = f"/api/tenants/{matrix.world.acme.tenant.pk}/members"
    for name in ("viewer", "developer", "admin"):
        own = f"{members}/{matrix.world.users[name].pk}"
        yield from _status(matrix.request("GET", own, matrix.world[name]), 200, f"that of {name}")
        changed = matrix.request("PATCH", own, matrix.world[name], body={"role": "admin"})
        yield from _status(changed, 200 if name == "admin" else 403, f"a change of that of {name}")
        yield from _status(
            matrix.request("DELETE", own, matrix.world[name]), 204, f"the end of that of {name}"
        )
    other = f"{members}/{matrix.world.users['viewer'].pk}"
    yield from _status(
        matrix.request("GET", other, matrix.world["viewer"]), 404, "what the former viewer asks"
    )


@probe
def the_last_admin_stays(matrix: Matrix) -> Iterator[str]:
    own = f"/api/tenants/{matrix.world.umbrella.tenant.pk}/members/{matrix.world.umbrella.admin.pk}"
    caller = matrix.world["other admin"]
    yield from _status(matrix.request("DELETE", own, caller), 409, "leaving")
    yield from _status(matrix.request("PATCH", own, caller, body={"role": "viewer"}), 409, "stepping down")


@probe
def a_list_of_tenants_tells_the_callers_own_role(matrix: Matrix) -> Iterator[str]:
    for name in ("viewer", "developer", "admin"):
        found = matrix.request("GET", "/api/tenants", matrix.world[name]).json()["results"]
        if [each["role"] for each in found] != [name]:
            yield f"{name} is told {found}"


@probe
def sessions_of_a_login_are_ones_own(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    for tokens in (first, second):
        answer = _as(matrix, tokens.access, "GET", "/api/auth/sessions")
        if len(answer.json()["results"]) != 1:
            yield f"{len(answer.json()['results'])} are listed"
    yield from _status(_as(matrix, first.access, "POST", "/api/auth/logout-all"), 204, "logging out")
    refreshed = matrix.request(
        "POST", "/api/auth/refresh-token", matrix.world["anonymous"], body={"refresh": second.refresh}
    )
    yield from _status(refreshed, 200, "another's session after that")
    ended = _as(matrix, refreshed.json()["access"], "POST", "/api/auth/logout")
    yield from _status(ended, 204, "logging out of one session")


@probe
def an_ended_session_spares_those_of_others(matrix: Matrix) -> Iterator[str]:
    first, second = (matrix.log_in(name) for name in ("admin", "viewer"))
    yield from _status(_as(matrix, first.access, "POST", "/api/auth/logout"), 204, "logging out")
    body = {"refresh": second.refresh}
    answer = matrix.request("POST", "/api/auth/refresh-token", matrix.world["anonymous"], body=body)
    yield from _status(answer, 200, "another's session after that")


@probe
def another_plan_is_an_admins_wish(matrix: Matrix) -> Iterator[str]:
    path = f"/api/tenants/{matrix.world.acme.tenant.pk}"
    for name, status in (("viewer", 403), ("developer", 403), ("admin", 200), ("sk", 403)):
        answer = matrix.request("PATCH", path, matrix.world[name], body={"requested_plan": "enterprise"})
        yield from _status(answer, status, f"that of {name}")


@probe
def a_key_opens_sessions_of_its_own_tenant(matrix: Matrix) -> Iterator[str]:
    for name in ("sk", "pk", "sk of another tenant"):
        answer = matrix.request("POST", "/api/chat/sessions", matrix.world[name], body={})
        yield from _status(answer, 201, f"that of {name}")
        tenant = matrix.world.own(matrix.world[name]).tenant
        if answer.status == 201 and answer.json()["tenant_id"] != str(tenant.pk):
            yield f"{name} opens one elsewhere"


@probe
def one_call_chats_in_a_session_of_its_own(matrix: Matrix) -> Iterator[str]:
    for name in ("sk", "pk"):
        answer = matrix.request("POST", "/api/chat", matrix.world[name], body={"message": "Hi"})
        yield from _status(answer, 200, f"that of {name}")
        yield from _shows_nothing_of(answer, "umbrella", name)
        if told := owners_in(str(matrix.sent())) - {"acme"}:
            yield f"the provider is told what is of {told}"


@probe
def a_refused_call_leaves_no_session(matrix: Matrix) -> Iterator[str]:
    before = ChatSession.objects.count()
    answer = matrix.request(
        "POST", "/api/chat", matrix.world["sk"], body={"message": "x" * (MAX_INPUT_CHARS + 1)}
    )
    yield from _status(answer, 400, "too long a message")
    if ChatSession.objects.count() != before:
        yield "it leaves one"


# -- each lock alone -----------------------------------------------------------


@probe
def a_pass_opens_what_all_of_it_says(matrix: Matrix) -> Iterator[str]:
    """Our own passes never contradict themselves; here each part alone must keep its bearer out."""
    world = matrix.world
    elsewhere, other = world.umbrella, world.estates["stranger"]
    wrong = {
        "session": ("visitor", {"session_id": ObjectId()}, 404),
        "visitor": ("visitor", {"visitor": other.session.visitor}, 404),
        "tenant": ("visitor", {"tenant_id": elsewhere.tenant.pk}, 404),
        "key": ("visitor", {"key_id": ObjectId()}, 404),
        "key of another tenant": ("visitor", {"key_id": elsewhere.key.pk}, 404),
        "origin": ("visitor", {"origin": "https://elsewhere.example"}, 401),
    }
    for part, (room, said, status) in wrong.items():
        path = f"/api/chat/sessions/{world.estates[room].session.pk}"
        answer = matrix.request("GET", path, visiting(world, room, **said), BEARER)
        yield from _status(answer, status, f"one with another {part}")


@probe
def messages_of_another_tenant_are_not_listed_in_ours(matrix: Matrix) -> Iterator[str]:
    """A message in Acme's session that names Umbrella is in none of Acme's lists."""
    for path in (
        f"/api/chat/sessions/{matrix.world.muddled.pk}/messages",
        f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/messages",
    ):
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from _status(answer, 200, path)
        yield from _shows_nothing_of(answer, "umbrella", path)


@probe
def visitors_find_their_own_sessions_only(matrix: Matrix) -> Iterator[str]:
    """No route lists sessions to visitors; the queryset would show one its own."""
    own = matrix.world.estates["visitor"].session
    access = Access(matrix.world.acme.tenant, visitor=own.visitor)
    if list(ChatSession.objects.visible_to(access)) != [own]:
        yield "the queryset finds others"


@probe
def an_erased_visitor_takes_nobody_along(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.world.acme.tenant, matrix.world.umbrella.tenant
    place = f"/api/chat/tenants/{acme.pk}/visitors"
    elsewhere = matrix.request("DELETE", f"{place}/{LEAVING_UMBRELLA}", matrix.world["admin"])
    yield from _status(elsewhere, 404, "one whom only Umbrella erases")
    running = Message.objects.filter(pk=matrix.world.acme.reply.pk)
    running.update(status="streaming", lease_until=timezone.now() + timedelta(minutes=1))
    sessions = ChatSession.objects.exclude(tenant=acme, visitor=LEAVING)
    kept = {*sessions.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    answer = matrix.request("DELETE", f"{place}/{LEAVING}", matrix.world["admin"])
    yield from _status(answer, 202, "one whom Acme erases")
    left = {*ChatSession.objects.values_list("pk", flat=True), *Message.objects.values_list("pk", flat=True)}
    if left != kept:
        yield f"{len(kept - left)} others went, {len(left - kept)} stayed"
    if running.filter(cancel_requested=True).exists():
        yield "a turn of another session was stopped"
    if touched := matrix.touched_beside(acme.pk):
        yield f"it changed {touched} of others than Acme, {umbrella.name} for one"


# -- figures -------------------------------------------------------------------

#: What stands in Acme's sessions: one is empty, two hold a message that is not Acme's. Its questions
#: are two in each of three sessions, and one in a session that is not Acme's.
_TOTALS = {"sessions": 6, "messages": 7, "active": {"users": 1, "visitors": 2}}
_ATTEMPTS = {"count": 6, "input_tokens": 60, "output_tokens": 60}


@probe
def analytics_count_ones_own(matrix: Matrix) -> Iterator[str]:
    place = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/analytics"
    for interval in ("day", "week", "month", "day", "week", "month"):  # Counted first, then read.
        path = f"{place}?interval={interval}&from={since()}"
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from _status(answer, 200, path)
        yield from _shows_nothing_of(answer, "umbrella", path)
        totals: dict[str, Any] = answer.json().get("totals", {})
        if not _holds(totals, _TOTALS) or not _holds(totals.get("attempts", {}), _ATTEMPTS):
            yield f"those by {interval} are {totals}"


def _holds(figures: dict[str, Any], stated: dict[str, Any]) -> bool:
    return all(figures.get(name) == value for name, value in stated.items())
