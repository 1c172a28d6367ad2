"""A session, its caller's rights and its newest messages, in one read.

Every route below `/api/chat/sessions/{id}` begins here. What is out of the
caller's reach is a 404 that equals a missing session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from rest_framework.exceptions import AuthenticationFailed, NotFound
from rest_framework.request import Request

from chat.models import ChatSession, Message
from chat.turns.history import HISTORY_LIMIT
from chat.visitors import VisitorPass
from tenants.access import Access, refuse_suspended
from tenants.models import ApiKey, Membership
from tenants.models.membership import Role
from tenants.models.tenant import lookup_tenant, tenant_of

#: What a turn needs of earlier messages; contents are most of the bytes read.
_TURN_FIELDS = dict.fromkeys(
    ("seq", "role", "content", "status", "run", "lease_until", "provider", "model", "created_at"), 1
)


@dataclass(slots=True)
class Conversation:
    """`messages` are raw, oldest first, and only loaded for turns; `asked_before` is the stored
    question with the same Idempotency-Key, if any.
    """

    session: ChatSession
    access: Access
    messages: list[dict] = field(default_factory=list)
    asked_before: dict | None = None

    @property
    def last_seq(self) -> int:
        return self.messages[-1]["seq"] if self.messages else 0

    @property
    def running(self) -> dict | None:
        """The newest reply that is still being answered."""
        return next((m for m in reversed(self.messages) if m["status"] == Message.Status.STREAMING), None)


def load(
    request: Request, session_id: Any, *, with_messages: bool = False, idempotency: str | None = None
) -> Conversation:
    """Return the conversation within the caller's reach. Raises NotFound; 403 for a suspended tenant."""
    stages: list[dict[str, Any]] = [{"$match": _reach(request, session_id)}]
    known: Access | None = request.auth if isinstance(request.auth, Access) else None
    if known is None:
        # First, and the rest for nobody else: a foreign session takes hardly longer than a missing one.
        stages += [_lookup_credential(request), {"$match": {"credential": {"$ne": []}}}]
        stages += lookup_tenant("tenant_id")
    if with_messages:
        limit = known.tenant.plan.history_messages if known else None
        # Two more: a running reply and its question stand at the end and are not sent.
        stages.append(_lookup_messages(min(limit or HISTORY_LIMIT, HISTORY_LIMIT) + 2))
    if idempotency:
        stages.append(_lookup_question(idempotency))
    raw = next(iter(ChatSession.collection().aggregate(stages)), None)
    if raw is None:
        raise NotFound
    session = ChatSession.from_document(raw)
    access = known or _access(request, raw)
    session.tenant = access.tenant
    request.log_fields.update(tenant=str(access.tenant.pk), session=str(session.pk))
    return Conversation(
        session, access, raw.get("messages", [])[::-1], next(iter(raw.get("asked_before", [])), None)
    )


def message_of(session: ChatSession, message_id: str) -> dict | None:
    """Return the raw message of that id if it stands in the session."""
    if not ObjectId.is_valid(message_id):
        return None
    return Message.collection().find_one({"_id": ObjectId(message_id), "session_id": session.pk})


def _reach(request: Request, session_id: Any) -> dict[str, Any]:
    """The condition that finds the session if the caller may know of it."""
    if not ObjectId.is_valid(str(session_id)):
        raise NotFound
    match: dict[str, Any] = {"_id": ObjectId(str(session_id))}
    if isinstance(request.auth, VisitorPass):
        if request.auth.session_id != match["_id"]:
            raise NotFound
        match |= {"tenant_id": request.auth.tenant_id, "visitor": request.auth.visitor}
    elif isinstance(request.auth, Access):
        if request.auth.key.is_public:  # opens sessions; a visitor's token opens one again
            raise NotFound
        match["tenant_id"] = request.auth.tenant.pk
    return match


def _access(request: Request, raw: dict[str, Any]) -> Access:
    """Return the access that the stored membership, or the key behind a visitor's token, gives."""
    tenant = tenant_of(raw)
    (credential,) = raw["credential"]
    refuse_suspended(tenant)
    if isinstance(request.auth, VisitorPass):
        key = ApiKey.from_document(credential)
        if not key.is_usable:
            raise AuthenticationFailed("The API key is not valid.", "api_key_invalid")
        return Access(tenant, key=key, visitor=request.auth.visitor, rate_key=request.auth.rate_key)
    return Access(tenant, role=Role(credential["role"]), user=request.user)


def _lookup_credential(request: Request) -> dict[str, Any]:
    """What must still be there for the caller to get in: a membership, or the visitor's key."""
    if isinstance(request.auth, VisitorPass):
        source, condition = ApiKey, {"_id": request.auth.key_id}
    else:
        source, condition = Membership, {"user_id": request.user.pk}
    return {
        "$lookup": {
            "from": source._meta.db_table,
            "localField": "tenant_id",
            "foreignField": "tenant_id",
            "pipeline": [{"$match": condition}],
            "as": "credential",
        }
    }


def _lookup_messages(limit: int) -> dict[str, Any]:
    return {
        "$lookup": {
            "from": Message._meta.db_table,
            "localField": "_id",
            "foreignField": "session_id",
            "pipeline": [{"$sort": {"seq": -1}}, {"$limit": limit}, {"$project": _TURN_FIELDS}],
            "as": "messages",
        }
    }


def _lookup_question(idempotency: str) -> dict[str, Any]:
    return {
        "$lookup": {
            "from": Message._meta.db_table,
            "pipeline": [{"$match": {"idempotency": idempotency}}],
            "as": "asked_before",
        }
    }
