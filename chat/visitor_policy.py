"""What browser credentials may set, and what they see: the words of the conversation.

Providers, models, attempts, tokens and cost are the tenant's. In JSON these fields are empty, as they are
on a question; events of a stream leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import Conflict, DomainError, Gone, InvalidInput, NotFound, Unavailable
from tenants.access import Access
from tenants.models.tenant import VisitorField

#: Never theirs: a visitor that chose its own id could choose another visitor's.
_NEVER = {"visitor"}

_RESTRICTED = {*VisitorField.values, *_NEVER}

#: Fields of sessions and messages that are the tenant's, with what a visitor sees instead.
_HIDDEN: dict[str, Any] = {
    "provider": "",
    "model": "",
    "usage": None,
    "attempts": [],
    "first_token_ms": None,
    "latency_ms": None,
    "run": 1,
    "user_id": None,
    "system_prompt": None,
    "route": None,
    "temperature": None,
    "max_tokens": None,
}

_UNAVAILABLE = "The assistant can't answer right now."

#: Errors that concern the visitor's own request.
_PLAIN = (NotFound, Conflict, Gone)
_PLAIN_CODES = {"idempotency_key_reused", "idempotency_key_in_use"}

#: Kinds of a reply's error that say nothing about providers.
_SHOWN_KINDS = {"blocked", "context_length", "interrupted", "deleted", "cancelled"}


def require_visitor_fields(access: Access, body: object) -> None:
    """Raise InvalidInput if a browser credential sets what its tenant does not allow."""
    if not access.is_public or not isinstance(body, Mapping):
        return
    allowed = set(access.tenant.visitor_fields or ()) - _NEVER
    if refused := [name for name in body if name in _RESTRICTED - allowed]:
        sentence = "Pages and visitors may not set this. The tenant's setting visitor_fields can allow it."
        never = "A visitor's id is given by the server."
        raise InvalidInput(
            {name: [never if name in _NEVER else sentence] for name in refused}, "not_for_visitors"
        )


def allowed_options(access: Access, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a message's stored options that the caller may set now."""
    if not access.is_public:
        return dict(options)
    return {name: value for name, value in options.items() if name in (access.tenant.visitor_fields or ())}


def for_visitor(data: dict[str, Any], access: Access) -> dict[str, Any]:
    """Return the JSON of a session or message without what is the tenant's."""
    data = {name: _HIDDEN.get(name, value) for name, value in data.items()}
    if VisitorField.METADATA not in (access.tenant.visitor_fields or ()):
        data["metadata"] = {}
    if error := data.get("error"):
        kind = error["kind"] if error["kind"] in _SHOWN_KINDS else "unavailable"
        data["error"] = {"kind": kind, "detail": _UNAVAILABLE}
    return data


def event_for_visitor(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of an event of a stream without what is the tenant's."""
    if name == "restart":
        return {"reason": "restarted"}
    return {key: value for key, value in data.items() if key not in ("provider", "model")}


def error_for_visitor(error: DomainError) -> DomainError:
    """Return `error` in words that disclose neither provider nor plan; its code stays."""
    if isinstance(error, InvalidInput):
        # The tenant's own route is wrong; a visitor can't correct it.
        is_tenants = error.code == "invalid" and {"route", "model"} & set(error.fields)
        return Unavailable(_UNAVAILABLE, "no_provider") if is_tenants else error
    limit = error.extra.get("limit")
    if limit and limit.get("scope") in ("address", "caller"):
        return error  # a rate of this visitor
    if (
        (isinstance(error, _PLAIN) and not limit)
        or error.code in _PLAIN_CODES
        or error.detail == error.default_detail
    ):
        return error
    shown = type(error).__new__(type(error))
    vars(shown).update(vars(error))
    shown.detail = _UNAVAILABLE
    shown.extra = {name: value for name, value in error.extra.items() if name != "limit"}
    return shown
