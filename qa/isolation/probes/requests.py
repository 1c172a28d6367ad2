"""Ids elsewhere than in paths and bodies, and more in a request than it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

from bson import ObjectId

from chat.models import ChatSession
from qa.isolation.cases import Cell, parameters_of
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.probes.probe import broad_probe, probe, shows_nothing_of, status
from qa.isolation.table import ROUTES, Door, Id
from qa.isolation.tenant_fixtures import actor
from tenants.models import Invitation

#: What a filter may be called, and whose of the world it could name.
_NAMES = {
    "tenant": "tenant_id",
    "tenant_id": "tenant_id",
    "user": "user_id",
    "user_id": "user_id",
    "actor": "user_id",
    "session": "session_id",
    "session_id": "session_id",
    "key": "key_id",
    "api_key": "key_id",
    "visitor": "visitor_id",
    "id": "session_id",
    "cursor": "message_id",
}
_NOBODYS = {"visitor_id": "v_nobodyes"}


@probe
def lists_of_another_tenants_user_are_empty(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.world.acme, matrix.world.umbrella
    path = f"/api/chat/tenants/{acme.tenant.pk}/sessions?user_id={umbrella.admin.pk}"
    answer = matrix.request("GET", path, matrix.world["admin"])
    yield from status(answer, 200, "the list")
    if answer.json()["results"]:
        yield "it finds sessions"


@probe
def cursors_of_another_tenant_open_nothing(matrix: Matrix) -> Iterator[str]:
    for route in _lists():
        if "tenant_id" not in route and "session_id" not in route:
            continue  # A list of the caller's own, whatever the tenant.
        theirs = matrix.ask(_cell(matrix, route, "GET", by="other admin"), "?page_size=1").json()["next"]
        if theirs is None:
            yield f"{route} of Umbrella has no second page: nothing is shown"
            continue
        cursor = parse_qs(urlsplit(theirs).query)["cursor"][0]
        answer = matrix.ask(_cell(matrix, route, "GET"), f"?cursor={quote(cursor)}")
        yield from status(answer, 200, f"the page of {route}")
        yield from shows_nothing_of(answer, "umbrella", f"the page of {route}")


@probe
def searches_find_nothing_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    for place in ("messages", "sessions"):
        path = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/{place}?search=umbrella&visitor="
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from shows_nothing_of(answer, "umbrella", path)


@probe
def a_public_key_names_no_visitor(matrix: Matrix) -> Iterator[str]:
    """Who may name itself may name somebody else."""
    somebody = matrix.world.estates["visitor"].session.visitor
    answer = matrix.request("POST", "/api/chat/sessions", matrix.world["pk"], body={"visitor": somebody})
    yield from status(answer, 201, "a session")
    if answer.json().get("visitor") == somebody:
        yield "it opens a session as somebody else"


@probe
def an_idempotency_key_belongs_to_its_caller(matrix: Matrix) -> Iterator[str]:
    """Also to callers of one tenant, for an answer may hold a secret; and for its caller it counts."""
    acme, key = matrix.world.acme.tenant.pk, {"HTTP_IDEMPOTENCY_KEY": "the-same-key"}
    asked = [
        ("/api/tenants", {"name": "New"}, ("other admin", "admin"), 201),
        (f"/api/tenants/{acme}/api-keys", {"name": "New"}, ("developer", "admin"), 201),
        (
            f"/api/chat/sessions/{matrix.world.acme.session.pk}/messages",
            {"message": "Hi"},
            ("admin", "sk"),
            201,
        ),
        ("/api/chat", {"message": "Hi"}, ("sk of another tenant", "sk"), 200),
    ]
    for path, body, (first, second), expected in asked:
        sessions: list[int] = []
        for name, is_again in ((first, False), (second, False), (first, True)):
            answer = matrix.request("POST", path, matrix.world[name], body=body, **key)
            yield from status(answer, expected, f"{path} of {name}")
            sessions.append(ChatSession.objects.count())
            if ("Idempotent-Replayed" in answer.headers) != is_again:
                yield f"{path} of {name} is {'not ' if is_again else ''}answered again"
        if sessions[-1] != sessions[-2]:
            yield f"{path} leaves a session when it is answered again"


@probe
def a_position_in_another_stream_shows_nothing_of_it(matrix: Matrix) -> Iterator[str]:
    session, reply = matrix.world.acme.session.pk, matrix.world.acme.reply.pk
    path = f"/api/chat/sessions/{session}/messages/{reply}/stream"
    answer = matrix.request("GET", path, matrix.world["admin"], HTTP_LAST_EVENT_ID="7:3")
    yield from status(answer, 200, "the stream")
    yield from shows_nothing_of(answer, "umbrella", "the stream")


@probe
def a_message_stands_in_its_own_session_only(matrix: Matrix) -> Iterator[str]:
    path = f"/api/chat/sessions/{matrix.world.acme.session.pk}/messages"
    theirs = matrix.world.estates["visitor"].reply.pk
    for name in ("admin", "sk"):
        answer = matrix.request("GET", f"{path}/{theirs}", matrix.world[name])
        missing = matrix.request("GET", f"{path}/{ObjectId()}", matrix.world[name])
        yield from status(answer, 404, f"a message of another session, asked by {name},")
        if answer.told != missing.told:
            yield f"its 404 for {name} differs from that of a missing one"


@probe
def an_invitation_is_for_its_address(matrix: Matrix) -> Iterator[str]:
    def accept(token: str, name: str = "former member") -> Answer:
        return matrix.request("POST", "/api/invitations/accept", matrix.world[name], body={"token": token})

    nobodys = accept("inv_of_nobody")
    umbrella, invited = matrix.world.umbrella, matrix.world.users["viewer"]
    Invitation.objects.send(umbrella.tenant, email=invited.email, role="viewer", by=actor(umbrella.admin))
    if accept("inv_of_nobody", "viewer").told != nobodys.told:
        yield "one that is there is opened by the address alone"
    for estate in ("umbrella", "initech"):
        answer = accept(matrix.world.estates[estate].invitation_token)
        if answer.told != nobodys.told:
            yield f"that of {estate} to somebody else is told from one that is not there"


@probe
def a_deleted_tenants_invitation_is_gone(matrix: Matrix) -> Iterator[str]:
    token = {"token": matrix.world.lost_invitation_token}
    answer = matrix.request("POST", "/api/invitations/accept", matrix.world["former member"], body=token)
    yield from status(answer, 404, "accepting it")


@broad_probe
def queries_find_what_is_anothers_no_more_than_what_is_nobodys(matrix: Matrix) -> Iterator[str]:
    """Whatever a list is narrowed by: another's id does to the answer what a missing one does."""
    theirs = matrix.world.umbrella
    for route in (*_lists(), "api/chat/tenants/<str:tenant_id>/analytics"):
        cell = _cell(matrix, route, "GET")
        for name, what in _NAMES.items():
            values = str(theirs.id_of(what)), _NOBODYS.get(what, str(ObjectId()))
            foreign, missing = (matrix.ask(cell, f"?{name}={value}") for value in values)
            yield from shows_nothing_of(foreign, "umbrella", f"{route}?{name}")
            if _told(foreign, values[0]) != _told(missing, values[1]):
                yield f"{route}?{name} tells one of another tenant from a missing one"


@broad_probe
def headers_tell_another_tenants_from_a_missing_one_nowhere(matrix: Matrix) -> Iterator[str]:
    headers = {
        "HTTP_IF_MATCH": '"of-another-state"',
        "HTTP_IF_NONE_MATCH": "*",
        "HTTP_IDEMPOTENCY_KEY": "a-key",
        "HTTP_LAST_EVENT_ID": "1:0",
        "HTTP_RANGE": "bytes=0-1",
    }
    for foreign, missing in _pairs(matrix):
        answers = [matrix.ask(cell, **headers) for cell in (foreign, missing)]
        if answers[0].told != answers[1].told:
            yield f"{foreign} is told from {missing}"


@broad_probe
def other_methods_tell_no_more(matrix: Matrix) -> Iterator[str]:
    """HEAD is a GET without its body. OPTIONS answers the same whatever is asked about."""
    for route, row in ROUTES.items():
        number = len(parameters_of(route))
        for method in () if number == 0 else ("HEAD", "OPTIONS", "TRACE"):
            own, foreign, missing = (
                matrix.ask(_cell(matrix, route, method, *[which] * number))
                for which in (Id.OWN, Id.FOREIGN, Id.MISSING)
            )
            if foreign.told != missing.told:
                yield f"{method} {route} tells one of another tenant from a missing one"
            yield from shows_nothing_of(own, "umbrella", f"{method} {route}")
            if method == "HEAD" and "GET" in row.may and (own.status, foreign.status) != (200, 404):
                yield f"HEAD {route} is a {own.status}, of another tenant a {foreign.status}"
            if method != "HEAD" and own.told != missing.told:
                yield f"{method} {route} tells what is there"


@broad_probe
def bodies_put_nothing_into_another_tenant(matrix: Matrix) -> Iterator[str]:
    """Whatever else a body names: what is made or changed stays the caller's own."""
    theirs = matrix.world.umbrella
    names = {name: str(theirs.id_of(what)) for name, what in _NAMES.items() if name != "visitor"}
    for route, row in ROUTES.items():
        for method in row.may.keys() & {"POST", "PUT", "PATCH"}:
            for name in names.keys() - {row.body_id, "user" if route.endswith("/members") else ""}:
                answer = matrix.ask(_cell(matrix, route, method), also={name: names[name]})
                if answer.status == 400:
                    continue  # As nearly everywhere: an unknown field.
                yield from shows_nothing_of(answer, "umbrella", f"{method} {route} with {name}")
                if touched := matrix.touched_beside(matrix.world.acme.tenant.pk):
                    yield f"{method} {route} with {name} changed {touched}"
                matrix.fresh()


# -- what is asked -------------------------------------------------------------


def _lists() -> Iterator[str]:
    for route, row in ROUTES.items():
        if "GET" in row.may and route.rpartition("/")[2] in _LISTS:
            yield route


#: Last parts of the routes that answer with pages.
_LISTS = {"tenants", "members", "invitations", "api-keys", "webhooks", "audit", "sessions", "messages"}


def _pairs(matrix: Matrix) -> Iterator[tuple[Cell, Cell]]:
    """Yield the requests of every route for an id of another tenant, each with that for a missing one."""
    for route, row in ROUTES.items():
        number = len(parameters_of(route))
        for method in row.may if number else ():
            for at in range(number):
                yield tuple(
                    _cell(matrix, route, method, *(which if n == at else Id.OWN for n in range(number)))
                    for which in (Id.FOREIGN, Id.MISSING)
                )


def _cell(matrix: Matrix, route: str, method: str, *ids: Id, by: str = "") -> Cell:
    """Return a cell of somebody who may do there whatever can be done; `ids` are own ones unless given."""
    caller = matrix.world[by or ("sk" if ROUTES[route].door in (Door.SITE, Door.OPENAI) else "admin")]
    return Cell(route, method, caller, caller.header, ids or (Id.OWN,) * len(parameters_of(route)))


def _told(answer: Answer, asked: str) -> tuple[dict[str, str], str]:
    """What the answer tells, but for what was asked and comes back in links and complaints."""
    headers, text = answer.told
    return headers, text.replace(asked, "what was asked")
