"""Ids in queries, cursors, headers and tokens, and fields in a body that the route does not take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from bson import ObjectId

from chat.models import ChatSession
from qa.isolation.callers import Caller, Kind
from qa.isolation.cases import Case, parameters_of
from qa.isolation.matrix import Answer, Matrix
from qa.isolation.probes.registry import broad_probe, has_status, probe, shows_nothing_of
from qa.isolation.table import OPENAI, ROUTES, SITE, Id
from qa.isolation.tenant_fixtures import actor
from tenants.models import Invitation, Tenant
from tenants.models.tenant import VisitorField

#: Possible names of a filter or field, and the parameter whose id it could take.
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
#: Requests that open a session, with a body that they accept.
_OPENING: dict[str, dict[str, str]] = {"/api/chat/sessions": {}, "/api/chat": {"message": "Hi"}}

#: Missing values of parameters that are not object ids.
_MISSING = {"visitor_id": "v_missing"}


@probe
def lists_filtered_by_another_tenants_user_are_empty(matrix: Matrix) -> Iterator[str]:
    acme, umbrella = matrix.dataset.acme, matrix.dataset.umbrella
    path = f"/api/chat/tenants/{acme.tenant.pk}/sessions?user_id={umbrella.admin.pk}"
    answer = matrix.request("GET", path, matrix.dataset["admin"])
    yield from has_status(answer, 200, "the list")
    if answer.json()["results"]:
        yield "it has sessions"


@probe
def cursors_of_another_tenant_reveal_nothing(matrix: Matrix) -> Iterator[str]:
    for route in _lists():
        if "tenant_id" not in route and "session_id" not in route:
            continue  # A list of the caller's own objects in all tenants.
        foreign = _case(matrix, route, "GET", caller="other admin")
        following = matrix.request_case(foreign, "?page_size=1").json()["next"]
        if following is None:
            yield f"{route} of Umbrella has no second page: nothing is tested"
            continue
        cursor = parse_qs(urlsplit(following).query)["cursor"][0]
        answer = matrix.request_case(_case(matrix, route, "GET"), f"?cursor={quote(cursor)}")
        yield from has_status(answer, 200, f"the page of {route}")
        yield from shows_nothing_of(answer, "umbrella", f"the page of {route}")


@probe
def searches_find_nothing_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    for name in ("messages", "sessions"):
        path = f"/api/chat/tenants/{matrix.dataset.acme.tenant.pk}/{name}?search=umbrella&visitor="
        answer = matrix.request("GET", path, matrix.dataset["admin"])
        yield from shows_nothing_of(answer, "umbrella", path)


@probe
def a_public_key_cannot_name_a_visitor(matrix: Matrix) -> Iterator[str]:
    """A browser that could name its visitor could name another one. Its tenant can't allow it."""
    visitor, caller = matrix.dataset.fixtures["visitor"].session.visitor, matrix.dataset["pk"]
    acme = Tenant.objects.filter(pk=matrix.dataset.acme.tenant.pk)
    acme.update(visitor_fields=[*VisitorField.values, "visitor"])
    before = ChatSession.objects.count()
    for path, body in _OPENING.items():
        answer = matrix.request("POST", path, caller, body=body | {"visitor": visitor})
        yield from has_status(answer, 400, path)
    if ChatSession.objects.count() != before:
        yield "it opens a session"


@probe
def a_public_key_opens_each_session_for_a_new_visitor(matrix: Matrix) -> Iterator[str]:
    before = list(ChatSession.objects.values_list("pk", flat=True))
    for path, body in [*_OPENING.items()] * 2:
        if (status := matrix.request("POST", path, matrix.dataset["pk"], body=body).status) >= 300:
            yield f"{path}: {status}"
    visitors = set(ChatSession.objects.exclude(pk__in=before).values_list("visitor", flat=True))
    if len(visitors - {""}) != 2 * len(_OPENING):
        yield f"the visitors are {visitors}"


@probe
def a_repeated_first_message_gives_access_to_its_own_session(matrix: Matrix) -> Iterator[str]:
    """And not to that of another visitor who came in between."""
    caller, once = matrix.dataset["pk"], {"HTTP_IDEMPOTENCY_KEY": "the-same-key-of-one-browser-tab"}
    first, _, repeated = (
        matrix.request("POST", "/api/chat", caller, body={"message": "Hi"}, **headers)
        for headers in (once, {}, once)
    )
    yield from has_status(repeated, 200, "the repeated message")
    token = repeated.json().get("visitor_token", "")
    visitor = Caller("visitor", Kind.VISITOR, credential=token, origin=caller.origin)
    answer = matrix.request("GET", f"/api/chat/sessions/{first.json()['session_id']}", visitor)
    yield from has_status(answer, 200, "the session of the first")


@probe
def an_idempotency_key_belongs_to_its_caller(matrix: Matrix) -> Iterator[str]:
    """Also among callers of one tenant, as an answer may hold a secret; its own caller gets the answer."""
    acme = matrix.dataset.acme
    requests = [
        ("/api/tenants", {"name": "New"}, ("other admin", "admin"), 201),
        (f"/api/tenants/{acme.tenant.pk}/api-keys", {"name": "New"}, ("developer", "admin"), 201),
        (f"/api/chat/sessions/{acme.session.pk}/messages", {"message": "Hi"}, ("admin", "sk"), 201),
        ("/api/chat", {"message": "Hi"}, ("sk of another tenant", "sk"), 200),
    ]
    for path, body, (first, second), expected in requests:
        sessions: list[int] = []
        for name, is_replay in ((first, False), (second, False), (first, True)):
            caller = matrix.dataset[name]
            answer = matrix.request("POST", path, caller, body=body, HTTP_IDEMPOTENCY_KEY="the-same-key")
            yield from has_status(answer, expected, f"{path} by {name}")
            sessions.append(ChatSession.objects.count())
            if ("Idempotent-Replayed" in answer.headers) != is_replay:
                yield f"{path} by {name} is {'not ' if is_replay else ''}replayed"
        if sessions[-1] != sessions[-2]:
            yield f"{path} leaves a session when it is replayed"


@probe
def a_position_in_another_stream_reveals_nothing_of_it(matrix: Matrix) -> Iterator[str]:
    session, reply = matrix.dataset.acme.session.pk, matrix.dataset.acme.reply.pk
    path = f"/api/chat/sessions/{session}/messages/{reply}/stream"
    answer = matrix.request("GET", path, matrix.dataset["admin"], HTTP_LAST_EVENT_ID="7:3")
    yield from has_status(answer, 200, "the stream")
    yield from shows_nothing_of(answer, "umbrella", "the stream")


@probe
def a_message_is_found_only_in_its_own_session(matrix: Matrix) -> Iterator[str]:
    path = f"/api/chat/sessions/{matrix.dataset.acme.session.pk}/messages"
    foreign = matrix.dataset.fixtures["visitor"].reply.pk
    for name in ("admin", "sk"):
        answer = matrix.request("GET", f"{path}/{foreign}", matrix.dataset[name])
        missing = matrix.request("GET", f"{path}/{ObjectId()}", matrix.dataset[name])
        yield from has_status(answer, 404, f"a message of another session, requested by {name}")
        if answer.observable != missing.observable:
            yield f"its 404 for {name} differs from that of a missing one"


@probe
def an_invitation_is_for_its_address_only(matrix: Matrix) -> Iterator[str]:
    def accept(token: str, name: str = "former member") -> Answer:
        caller = matrix.dataset[name]
        return matrix.request("POST", "/api/invitations/accept", caller, body={"token": token})

    missing = accept("inv_missing")
    umbrella, invited = matrix.dataset.umbrella, matrix.dataset.users["viewer"]
    Invitation.objects.send(umbrella.tenant, email=invited.email, role="viewer", by=actor(umbrella.admin))
    if accept("inv_missing", "viewer").observable != missing.observable:
        yield "one is accepted by the address alone"
    for owner in ("umbrella", "initech"):
        answer = accept(matrix.dataset.fixtures[owner].invitation_token)
        if answer.observable != missing.observable:
            yield f"that of {owner} to another address is distinguishable from a missing one"


@probe
def an_invitation_of_a_deleted_tenant_cannot_be_accepted(matrix: Matrix) -> Iterator[str]:
    body = {"token": matrix.dataset.deleted_tenants_invitation_token}
    answer = matrix.request("POST", "/api/invitations/accept", matrix.dataset["former member"], body=body)
    yield from has_status(answer, 404, "accepting it")


@broad_probe
def filters_do_not_distinguish_foreign_ids_from_missing_ones(matrix: Matrix) -> Iterator[str]:
    """Whatever name a filter has: a foreign id changes the answer as a missing one does."""
    umbrella = matrix.dataset.umbrella
    for route in (*_lists(), "api/chat/tenants/<str:tenant_id>/analytics"):
        case = _case(matrix, route, "GET")
        for name, parameter in _NAMES.items():
            foreign_id = str(umbrella.id_of(parameter))
            missing_id = _MISSING.get(parameter, str(ObjectId()))
            foreign = matrix.request_case(case, f"?{name}={foreign_id}")
            missing = matrix.request_case(case, f"?{name}={missing_id}")
            yield from shows_nothing_of(foreign, "umbrella", f"{route}?{name}")
            if _without_id(foreign, foreign_id) != _without_id(missing, missing_id):
                yield f"{route}?{name} distinguishes a foreign id from a missing one"


@broad_probe
def headers_do_not_distinguish_foreign_ids_from_missing_ones(matrix: Matrix) -> Iterator[str]:
    headers: dict[str, Any] = {
        "HTTP_IF_MATCH": '"of-another-state"',
        "HTTP_IF_NONE_MATCH": "*",
        "HTTP_IDEMPOTENCY_KEY": "a-key",
        "HTTP_LAST_EVENT_ID": "1:0",
        "HTTP_RANGE": "bytes=0-1",
    }
    for foreign, missing in _pairs(matrix):
        answers = [matrix.request_case(case, **headers) for case in (foreign, missing)]
        if answers[0].observable != answers[1].observable:
            yield f"{foreign} is distinguishable from {missing}"


@broad_probe
def other_methods_do_not_distinguish_foreign_ids_from_missing_ones(matrix: Matrix) -> Iterator[str]:
    """HEAD is a GET without its body. OPTIONS and TRACE answer the same for every id."""
    for route, row in ROUTES.items():
        count = len(parameters_of(route))
        for method in () if count == 0 else ("HEAD", "OPTIONS", "TRACE"):
            own, foreign, missing = (
                matrix.request_case(_case(matrix, route, method, *[which] * count))
                for which in (Id.OWN, Id.FOREIGN, Id.MISSING)
            )
            if foreign.observable != missing.observable:
                yield f"{method} {route} distinguishes a foreign id from a missing one"
            yield from shows_nothing_of(own, "umbrella", f"{method} {route}")
            if method == "HEAD" and "GET" in row.allowed and (own.status, foreign.status) != (200, 404):
                yield f"HEAD {route}: {own.status}, for a foreign id {foreign.status}"
            if method != "HEAD" and own.observable != missing.observable:
                yield f"{method} {route} distinguishes an own id from a missing one"


@broad_probe
def bodies_change_nothing_of_another_tenant(matrix: Matrix) -> Iterator[str]:
    """Whatever ids a body also names: created and changed objects stay those of the caller's tenant."""
    umbrella = matrix.dataset.umbrella
    ids = {name: str(umbrella.id_of(what)) for name, what in _NAMES.items() if name != "visitor"}
    for route, row in ROUTES.items():
        for method in row.allowed.keys() & {"POST", "PUT", "PATCH"}:
            for name in ids.keys() - {row.body_id, "user" if route.endswith("/members") else ""}:
                answer = matrix.request_case(_case(matrix, route, method), fields={name: ids[name]})
                if answer.status == 400:
                    continue  # As nearly everywhere: an unknown field.
                yield from shows_nothing_of(answer, "umbrella", f"{method} {route} with {name}")
                if changed := matrix.changed_for_others(matrix.dataset.acme.tenant.pk):
                    yield f"{method} {route} with {name} changed {changed}"
                matrix.reset()


# -- requests -------------------------------------------------------------


def _lists() -> Iterator[str]:
    for route, row in ROUTES.items():
        if "GET" in row.allowed and route.rpartition("/")[2] in _LISTS:
            yield route


#: Last parts of the routes whose answers have pages.
_LISTS = {"tenants", "members", "invitations", "api-keys", "webhooks", "audit", "sessions", "messages"}


def _pairs(matrix: Matrix) -> Iterator[tuple[Case, Case]]:
    """Yield for every id of every route the case of a foreign one and that of a missing one."""
    for route, row in ROUTES.items():
        count = len(parameters_of(route))
        for method in row.allowed:
            for position in range(count):
                foreign, missing = (
                    _case(matrix, route, method, *(which if n == position else Id.OWN for n in range(count)))
                    for which in (Id.FOREIGN, Id.MISSING)
                )
                yield foreign, missing


def _case(matrix: Matrix, route: str, method: str, *ids: Id, caller: str = "") -> Case:
    """Return the case of a caller with all rights on the route; `ids` are its own ones by default."""
    by = matrix.dataset[caller or ("sk" if ROUTES[route].policy in (SITE, OPENAI) else "admin")]
    return Case(route, method, by, by.header, ids or (Id.OWN,) * len(parameters_of(route)))


def _without_id(answer: Answer, requested_id: str) -> tuple[dict[str, str], str]:
    """Return the observable answer without the requested id, which links and errors repeat."""
    headers, text = answer.observable
    return headers, text.replace(requested_id, "the requested id")
