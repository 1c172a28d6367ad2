"""Who may do what: every route and method, stated once more and by hand.

Nothing here is read from the views: their own declarations are what the table checks.
`expected_status` derives the status of every case from a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from qa.isolation.callers import Caller, Kind, State

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Id(StrEnum):
    """Which object an id names: one of the caller's own tenant, of another one, none, or it is not an id."""

    OWN = "own"
    FOREIGN = "foreign"
    MISSING = "missing"
    MALFORMED = "malformed"


class CredentialPolicy(StrEnum):
    """The credentials that a route reads. It ignores others."""

    PUBLIC = "none"
    OPTIONAL = "users, who get more"
    USERS = "users"
    STAFF = "users of the platform's staff"
    TENANT = "users, keys"
    SESSION = "users, keys, visitors"
    SITE = "keys, visitors"
    VISITORS = "visitors"
    OPENAI = "keys, also as Bearer"


PUBLIC, OPTIONAL, USERS, STAFF, TENANT, SESSION, SITE, VISITORS, OPENAI = CredentialPolicy


@dataclass(frozen=True, slots=True)
class Right:
    """The roles that have it, the scope that grants it to a secret key, and whether visitors have it."""

    roles: str = ""
    scope: str | None = None
    visitor: bool = False
    public_key: bool = False

    def is_granted_to(self, caller: Caller) -> bool:
        match caller.kind:
            case Kind.USER:
                return caller.role in self.roles.split()
            case Kind.SECRET_KEY:
                return self.scope in caller.scopes
            case Kind.PUBLIC_KEY:
                return self.public_key
            case Kind.VISITOR:
                return self.visitor
        return False


ANY_ROLE = "viewer developer admin"

VIEW = Right(ANY_ROLE, "usage:read")
VIEW_ANALYTICS = Right(ANY_ROLE, "analytics:read")
LIST_SESSIONS = Right(ANY_ROLE, "sessions:read")
READ_SESSION = Right(ANY_ROLE, "sessions:read", visitor=True)
WRITE_SESSION = Right("developer admin", "sessions:write")
OPEN_SESSION = Right("developer admin", "sessions:write", visitor=True, public_key=True)
SEND = Right("developer admin", "messages:send", visitor=True, public_key=True)
GIVE_VISITOR_TOKENS = Right(scope="sessions:write")
OWN_IDENTITY = Right(visitor=True)
CALL_MODELS = Right(scope="messages:send")
EDIT = Right("developer admin")
ADMINISTER = Right("admin")
ANY = Right()


@dataclass(frozen=True, slots=True)
class Row:
    """A route. `allowed` is {method: (right, status of success)}; `body_id` names an id in its body.

    The answer to a method that is not in `allowed` is a 405.
    """

    policy: CredentialPolicy
    allowed: dict[str, tuple[Right, int]] = field(default_factory=dict)
    body_id: str = ""


def _row(policy: CredentialPolicy, body_id: str = "", **allowed: tuple[Right, int]) -> Row:
    return Row(policy, allowed, body_id)


_MESSAGE = "api/chat/sessions/<str:session_id>/messages/<str:message_id>"

#: Routes as the resolver has them. A route that refuses a body with 400 has read it: it is open.
ROUTES: dict[str, Row] = {
    "health": _row(PUBLIC, GET=(ANY, 200)),
    "ready": _row(PUBLIC, GET=(ANY, 200)),
    "status": _row(PUBLIC, GET=(ANY, 200)),
    "metrics": _row(PUBLIC, GET=(ANY, 200)),
    "api/schema": _row(PUBLIC, GET=(ANY, 200)),
    "api/docs": _row(PUBLIC, GET=(ANY, 200)),
    "invitation": _row(PUBLIC, GET=(ANY, 200)),
    "password-reset": _row(PUBLIC, GET=(ANY, 200)),
    "confirm-email": _row(PUBLIC, GET=(ANY, 200)),
    #
    "api/auth/register": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/login": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/refresh-token": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/logout": _row(OPTIONAL, POST=(ANY, 204)),
    "api/auth/logout-all": _row(USERS, POST=(ANY, 204)),
    "api/auth/sessions": _row(USERS, GET=(ANY, 200)),
    "api/auth/profile": _row(USERS, GET=(ANY, 200), PUT=(ANY, 200), PATCH=(ANY, 200)),
    "api/auth/confirm-email": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/password-reset": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/password-reset/confirm": _row(PUBLIC, POST=(ANY, 400)),
    "api/auth/change-password": _row(USERS, PUT=(ANY, 400)),
    #
    "api/tenants": _row(USERS, GET=(ANY, 200), POST=(ANY, 201)),
    "api/tenants/<str:tenant_id>": _row(
        TENANT, GET=(VIEW, 200), PUT=(EDIT, 200), PATCH=(EDIT, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/members": _row(TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)),
    # A member's own membership: see `probes`.
    "api/tenants/<str:tenant_id>/members/<str:user_id>": _row(
        TENANT, GET=(ADMINISTER, 200), PATCH=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/invitations": _row(TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)),
    "api/tenants/<str:tenant_id>/invitations/<str:invitation_id>": _row(
        TENANT, GET=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    # With a token that does not exist; those of others: see `probes`.
    "api/invitations/accept": _row(USERS, POST=(ANY, 404)),
    "api/tenants/<str:tenant_id>/api-keys": _row(TENANT, GET=(EDIT, 200), POST=(EDIT, 201)),
    "api/tenants/<str:tenant_id>/api-keys/<str:key_id>": _row(TENANT, GET=(EDIT, 200), DELETE=(EDIT, 204)),
    "api/tenants/<str:tenant_id>/api-keys/<str:key_id>/rotate": _row(TENANT, POST=(EDIT, 201)),
    "api/tenants/<str:tenant_id>/webhooks": _row(TENANT, GET=(ADMINISTER, 200), POST=(ADMINISTER, 201)),
    "api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>": _row(
        TENANT, GET=(ADMINISTER, 200), PATCH=(ADMINISTER, 200), DELETE=(ADMINISTER, 204)
    ),
    "api/tenants/<str:tenant_id>/webhooks/<str:webhook_id>/test": _row(TENANT, POST=(ADMINISTER, 202)),
    "api/tenants/<str:tenant_id>/usage": _row(TENANT, GET=(VIEW, 200)),
    "api/tenants/<str:tenant_id>/audit": _row(TENANT, GET=(ADMINISTER, 200)),
    #
    "api/chat": _row(SITE, body_id="session_id", POST=(SEND, 200)),
    "api/chat/sessions": _row(SESSION, body_id="tenant_id", POST=(OPEN_SESSION, 201)),
    "api/chat/sessions/<str:session_id>": _row(
        SESSION,
        GET=(READ_SESSION, 200),
        PUT=(WRITE_SESSION, 200),
        PATCH=(WRITE_SESSION, 200),
        DELETE=(WRITE_SESSION, 204),
    ),
    "api/chat/sessions/<str:session_id>/export": _row(SESSION, GET=(READ_SESSION, 200)),
    "api/chat/sessions/<str:session_id>/messages": _row(SESSION, GET=(READ_SESSION, 200), POST=(SEND, 201)),
    _MESSAGE: _row(SESSION, GET=(READ_SESSION, 200)),
    f"{_MESSAGE}/stream": _row(SESSION, GET=(READ_SESSION, 200)),
    f"{_MESSAGE}/cancel": _row(SESSION, POST=(SEND, 200)),
    f"{_MESSAGE}/retry": _row(SESSION, POST=(SEND, 200)),
    f"{_MESSAGE}/feedback": _row(SESSION, PUT=(SEND, 200)),
    "api/chat/tenants/<str:tenant_id>/sessions": _row(TENANT, GET=(LIST_SESSIONS, 200)),
    "api/chat/tenants/<str:tenant_id>/messages": _row(TENANT, GET=(LIST_SESSIONS, 200)),
    "api/chat/tenants/<str:tenant_id>/analytics": _row(TENANT, GET=(VIEW_ANALYTICS, 200)),
    "api/chat/tenants/<str:tenant_id>/visitors/<path:visitor_id>": _row(TENANT, DELETE=(ADMINISTER, 202)),
    "api/chat/tenants/<str:tenant_id>/visitor-tokens": _row(TENANT, POST=(GIVE_VISITOR_TOKENS, 201)),
    "api/chat/tenants/<str:tenant_id>/visitor-tokens/<path:visitor_id>": _row(
        TENANT, DELETE=(WRITE_SESSION, 204)
    ),
    "api/chat/visitor": _row(VISITORS, DELETE=(OWN_IDENTITY, 204)),
    "api/chat/visitor/sessions": _row(VISITORS, GET=(OWN_IDENTITY, 200)),
    "api/chat/tenants/<str:tenant_id>/erasures/<str:erasure_id>": _row(TENANT, GET=(ADMINISTER, 200)),
    #
    "api/llm/providers": _row(USERS, GET=(ANY, 200)),
    "api/llm/test": _row(STAFF, POST=(ANY, 400)),
    "v1/chat/completions": _row(OPENAI, POST=(CALL_MODELS, 200)),
    "v1/models": _row(OPENAI, GET=(CALL_MODELS, 200)),
    "v1/models/<path:name>": _row(OPENAI, GET=(CALL_MODELS, 200)),
    **dict.fromkeys(("v1", "v1/", "v1/<path:rest>"), Row(PUBLIC, dict.fromkeys(METHODS, (ANY, 404)))),
}

#: Routes with this prefix have no rows: every page of the console is for staff.
CONSOLE = "admin/"
CONSOLE_LOGIN = "admin/login/"


def expected_status(row: Row, method: str, caller: Caller, header: str, ids: tuple[Id, ...]) -> int:
    """Return the status that the answer to this case must have.

    `ids` are those of the path, outermost first, then that of the body. The first one names the tenant
    or the session, which decides the caller's access; the objects below must belong to it.
    """
    if row.policy in (PUBLIC, OPTIONAL) and method not in row.allowed:
        return 405
    if row.policy is PUBLIC:
        return row.allowed[method][1]
    if refusal := _credential_refusal(row.policy, caller, header):
        return refusal
    if row.policy is STAFF and not caller.is_staff:
        return 403  # for any method, as a page of the console
    if method not in row.allowed:
        return 405
    right, success = row.allowed[method]
    if row.policy in (USERS, STAFF, OPTIONAL):
        return success
    if row.body_id and ids[-1] is Id.MALFORMED:
        return 400
    if not ids:
        return success if right.is_granted_to(caller) else 403
    if ids[0] is not Id.OWN or not _has_access(row, caller) or _is_hidden_from(row, caller):
        return 404
    if caller.state is State.SUSPENDED:
        return 403
    if not right.is_granted_to(caller):
        return 403
    return success if set(ids) == {Id.OWN} else 404


def _credential_refusal(policy: CredentialPolicy, caller: Caller, header: str) -> int | None:
    """Return 401 for credentials that the policy does not accept, 403 for keys of a suspended tenant."""
    is_accepted = {
        Kind.USER: policy in (USERS, STAFF, OPTIONAL, TENANT, SESSION),
        Kind.SECRET_KEY: policy in (TENANT, SESSION, SITE, OPENAI),
        Kind.PUBLIC_KEY: policy in (TENANT, SESSION, SITE, OPENAI),
        Kind.VISITOR: policy in (SESSION, SITE, VISITORS),
        Kind.ANONYMOUS: False,
    }[caller.kind]
    is_right_header = header == caller.header or (policy is OPENAI and caller.is_key)
    if not is_accepted or not is_right_header or caller.state in (State.INACTIVE, State.UNUSABLE):
        return 401
    if caller.is_key and caller.state is State.SUSPENDED:
        return 403
    return None


def _is_hidden_from(row: Row, caller: Caller) -> bool:
    """Whether all sessions are hidden: public keys open sessions, but only a visitor's token reads one."""
    names_tenant = row.body_id == "tenant_id"
    return caller.kind is Kind.PUBLIC_KEY and row.policy in (SESSION, SITE) and not names_tenant


def _has_access(row: Row, caller: Caller) -> bool:
    """Whether it has access to its home: another visitor has it to the tenant, and to no session there."""
    return caller.has_access or (caller.kind is Kind.VISITOR and row.body_id == "tenant_id")
