"""Who may do what: every route and method, stated once more and by hand.

Nothing here is read from the views, whose own declarations are what it is held against.
`expected` turns a row into the status of every cell, by the rules written there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from qa.isolation.callers import Caller, Kind, State

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Id(StrEnum):
    """Whose object an id names: the caller's own tenant's, another's, nobody's, or it is no id."""

    OWN = "own"
    FOREIGN = "foreign"
    MISSING = "missing"
    MALFORMED = "malformed"


class Door(StrEnum):
    """Which credentials a route looks at; the others count as none."""

    PUBLIC = "anyone"
    OPTIONAL = "anyone, and people have more of it"
    PEOPLE = "people"
    TENANT = "people, keys"
    SESSION = "people, keys, visitors"
    SITE = "keys, visitors"
    OPENAI = "keys, also as Bearer"
    STAFF = "staff, by the console's own session"


@dataclass(frozen=True, slots=True)
class Right:
    """The roles that have it, the scope that gives it to a secret key, and whether visitors have it."""

    roles: str = ""
    scope: str | None = None
    visitor: bool = False
    public_key: bool = False

    def belongs_to(self, caller: Caller) -> bool:
        match caller.kind:
            case Kind.PERSON:
                return caller.role in self.roles.split()
            case Kind.SECRET_KEY:
                return self.scope in caller.scopes
            case Kind.PUBLIC_KEY:
                return self.public_key
            case Kind.VISITOR:
                return self.visitor
        return False


EVERYONE = "viewer developer admin"

VIEW = Right(EVERYONE, "usage:read")
VIEW_ANALYTICS = Right(EVERYONE, "analytics:read")
LIST_SESSIONS = Right(EVERYONE, "sessions:read")
READ_SESSION = Right(EVERYONE, "sessions:read", visitor=True)
WRITE_SESSION = Right("developer admin", "sessions:write")
OPEN_SESSION = Right("developer admin", "sessions:write", public_key=True)
SEND = Right("developer admin", "messages:send", visitor=True, public_key=True)
CALL_MODELS = Right(scope="messages:send")
EDIT = Right("developer admin")
ADMINISTER = Right("admin")
ANY = Right()


@dataclass(frozen=True, slots=True)
class Row:
    """A route. `may` is {method: (right, status of success)}; `body_id` an id that its body takes.

    A method that is not in `may` is not offered: 405.
    """

    door: Door
    may: dict[str, tuple[Right, int]] = field(default_factory=dict)
    body_id: str = ""


def _row(door: Door, body_id: str = "", **may: tuple[Right, int]) -> Row:
    return Row(door, may, body_id)


_MESSAGE = "api/chat/sessions/<str:session_id>/messages/<str:message_id>"

#: Routes as the resolver has them. A body that a public route refuses with 400 was looked at: it is open.
ROUTES: dict[str, Row] = {
    "health": _row(Door.PUBLIC, GET=(ANY, 200)),
    "ready": _row(Door.PUBLIC, GET=(ANY, 200)),
    "status": _row(Door.PUBLIC, GET=(ANY, 200)),
    "metrics": _row(Door.PUBLIC, GET=(ANY, 200)),
    "api/schema": _row(Door.PUBLIC, GET=(ANY, 200)),
    "api/docs": _row(Door.PUBLIC, GET=(ANY, 200)),
    #
    "api/auth/register": _row(Door.PUBLIC, POST=(ANY, 400)),
    "api/auth/login": _row(Door.PUBLIC, POST=(ANY, 400)),
    "api/auth/refresh-token": _row(Door.PUBLIC, POST=(ANY, 400)),
    "api/auth/logout": _row(Door.OPTIONAL, POST=(ANY, 204)),
    "api/auth/logout-all": _row(Door.PEOPLE, POST=(ANY, 204)),
    "api/auth/sessions": _row(Door.PEOPLE, GET=(ANY, 200)),
    "api/auth/profile": _row(Door.PEOPLE, GET=(ANY, 200), PUT=(ANY, 200), PATCH=(ANY, 200)),
    "api/auth/change-password": _row(Door.PEOPLE, PUT=(ANY, 400)),
    #
    "api/tenants": _row(Door.PEOPLE, GET=(ANY, 200), POST=(ANY, 201)),
    "api/tenants/<str:tenant_id>": _row(
        Door.TENANT, GET=(VIEW, 200), PUT=(EDIT, 200), PATCH=(EDIT, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/members": _row(Door.TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)),
    # One's own membership: see `probes`.
    "api/tenants/<str:tenant_id>/members/<str:user_id>": _row(
        Door.TENANT, GET=(ADMINISTER, 200), PATCH=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/invitations": _row(
        Door.TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)
    ),
    "api/tenants/<str:tenant_id>/invitations/<str:invitation_id>": _row(
        Door.TENANT, GET=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    # A token that nobody has; those of others: see `probes`.
    "api/invitations/accept": _row(Door.PEOPLE, POST=(ANY, 404)),
    "api/tenants/<str:tenant_id>/api-keys": _row(Door.TENANT, GET=(EDIT, 200), POST=(EDIT, 201)),
    "api/tenants/<str:tenant_id>/api-keys/<str:key_id>": _row(
        Door.TENANT, GET=(EDIT, 200), DELETE=(EDIT, 204)
    ),
    "api/tenants/<str:tenant_id>/api-keys/<str:key_id>/rotate": _row(Door.TENANT, POST=(EDIT, 201)),
    "api/tenants/<str:tenant_id>/webhooks": _row(Door.TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)),
    "api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>": _row(
        Door.TENANT, GET=(ADMINISTER, 200), PATCH=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>/test": _row(Door.TENANT, POST=(ADMINISTER, 202)),
    "api/tenants/<str:tenant_id>/usage": _row(Door.TENANT, GET=(VIEW, 200)),
    "api/tenants/<str:tenant_id>/audit": _row(Door.TENANT, GET=(ADMINISTER, 200)),
    #
    "api/chat": _row(Door.SITE, body_id="session_id", POST=(SEND, 200)),
    "api/chat/sessions": _row(Door.SESSION, body_id="tenant_id", POST=(OPEN_SESSION, 201)),
    "api/chat/sessions/<str:session_id>": _row(
        Door.SESSION,
        GET=(READ_SESSION, 200),
        PUT=(WRITE_SESSION, 200),
        PATCH=(WRITE_SESSION, 200),
        DELETE=(WRITE_SESSION, 204),
    ),
    "api/chat/sessions/<str:session_id>/export": _row(Door.SESSION, GET=(READ_SESSION, 200)),
    "api/chat/sessions/<str:session_id>/messages": _row(
        Door.SESSION, GET=(READ_SESSION, 200), POST=(SEND, 201)
    ),
    _MESSAGE: _row(Door.SESSION, GET=(READ_SESSION, 200)),
    f"{_MESSAGE}/stream": _row(Door.SESSION, GET=(READ_SESSION, 200)),
    f"{_MESSAGE}/cancel": _row(Door.SESSION, POST=(SEND, 200)),
    f"{_MESSAGE}/retry": _row(Door.SESSION, POST=(SEND, 200)),
    f"{_MESSAGE}/feedback": _row(Door.SESSION, PUT=(SEND, 200)),
    "api/chat/tenants/<str:tenant_id>/sessions": _row(Door.TENANT, GET=(LIST_SESSIONS, 200)),
    "api/chat/tenants/<str:tenant_id>/messages": _row(Door.TENANT, GET=(LIST_SESSIONS, 200)),
    "api/chat/tenants/<str:tenant_id>/analytics": _row(Door.TENANT, GET=(VIEW_ANALYTICS, 200)),
    "api/chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>": _row(
        Door.TENANT, DELETE=(ADMINISTER, 202)
    ),
    "api/chat/tenants/<str:tenant_id>/erasures/<str:erasure_id>": _row(Door.TENANT, GET=(ADMINISTER, 200)),
    #
    "api/llm/providers": _row(Door.PEOPLE, GET=(ANY, 200)),
    "api/llm/test": _row(Door.PEOPLE, POST=(ANY, 400)),
    "v1/chat/completions": _row(Door.OPENAI, POST=(CALL_MODELS, 200)),
    "v1/models": _row(Door.OPENAI, GET=(CALL_MODELS, 200)),
    "v1/models/<path:name>": _row(Door.OPENAI, GET=(CALL_MODELS, 200)),
    "v1/<path:rest>": _row(Door.PUBLIC, **dict.fromkeys(METHODS, (ANY, 404))),
}

#: Below this prefix there is no row a route: the console is for staff, whatever is added to it.
CONSOLE = "admin/"
CONSOLE_DOOR = "admin/login/"


def expected(row: Row, method: str, caller: Caller, header: str, ids: tuple[Id, ...]) -> int:
    """Return the one status that the answer of this cell must have.

    `ids` are those of the path, outermost first, then that of the body. The first names the tenant
    or the session, and with it whose the request is; what stands below must belong to it.
    """
    if row.door in (Door.PUBLIC, Door.OPTIONAL) and method not in row.may:
        return 405
    if row.door is Door.PUBLIC:
        return row.may[method][1]
    if refusal := _refused_at(row.door, caller, header):
        return refusal
    if method not in row.may:
        return 405
    right, success = row.may[method]
    if row.door in (Door.PEOPLE, Door.OPTIONAL):
        return success
    if row.body_id and ids[-1] is Id.MALFORMED:
        return 400
    if not ids:
        return success if right.belongs_to(caller) else 403
    if ids[0] is not Id.OWN or not caller.belongs or _out_of_sight(row, caller):
        return 404
    if caller.state is State.SUSPENDED:
        return 403
    if not right.belongs_to(caller):
        return 403
    return success if set(ids) == {Id.OWN} else 404


def _refused_at(door: Door, caller: Caller, header: str) -> int | None:
    """Return 401 for callers whom this door does not know, 403 for keys that no door lets in."""
    heard = {
        Kind.PERSON: door in (Door.PEOPLE, Door.OPTIONAL, Door.TENANT, Door.SESSION),
        Kind.SECRET_KEY: door in (Door.TENANT, Door.SESSION, Door.SITE, Door.OPENAI),
        Kind.PUBLIC_KEY: door in (Door.TENANT, Door.SESSION, Door.SITE, Door.OPENAI),
        Kind.VISITOR: door in (Door.SESSION, Door.SITE),
        Kind.NOBODY: False,
    }[caller.kind]
    in_its_header = header == caller.header or (door is Door.OPENAI and caller.is_key)
    if not heard or not in_its_header or caller.state in (State.INACTIVE, State.UNUSABLE):
        return 401
    if caller.is_key and caller.state is State.SUSPENDED:
        return 403
    return None


def _out_of_sight(row: Row, caller: Caller) -> bool:
    """Public keys open sessions and see none: that takes a visitor's token, which sees nothing else."""
    if row.body_id == "tenant_id":
        return caller.kind is Kind.VISITOR
    return caller.kind is Kind.PUBLIC_KEY and row.door in (Door.SESSION, Door.SITE)
