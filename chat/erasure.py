"""People and conversations leave, the figures and the money they stand for stay.

Deleting a session, erasing a visitor, a user or all of a tenant's conversations, and retention
(`chat.retention`) are the same work with another answer to "which sessions". It is an `Erasure` that is
on record before the first document goes and can be taken up again by any process (`resume`).
Per batch of sessions, each step repeatable:

    close ── stop running turns ── settle ── unname in the ledger ── forget answers ── remove

A session is closed first, so that nothing new is sent to it, and removed last, so that whoever goes on
finds it by whose it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from bson import ObjectId

from chat.analytics import deletion
from chat.analytics.models import Rollup, RollupCoverage
from chat.models import ChatSession, Message
from chat.turns import replies, settlement
from core.api.idempotency import forget_responses
from core.audit.models import Actor, AuditEvent
from tenants.models import Erasure, ErasureManifest, LedgerEntry
from tenants.models.erasure import ErasureScope

#: Sessions of one batch, and messages of which the ledger forgets the session at once.
BATCH_SESSIONS = 100
BATCH_REPLIES = 1000

#: How long running turns are given to stop. One that doesn't has lost its worker, or finds its reply gone.
STOP_SECONDS = 3.0
POLL_SECONDS = 0.05


def erase_session(session: ChatSession, by: Actor) -> ErasureManifest:
    return _erase(session.tenant_id, ErasureScope.SESSION, session.pk, by)


def erase_visitor(tenant_id: ObjectId, visitor: str, by: Actor) -> ErasureManifest:
    if not visitor:
        raise ValueError("Sessions without a visitor are nobody's.")
    return _erase(tenant_id, ErasureScope.VISITOR, visitor, by)


def erase_user(tenant_id: ObjectId, user_id: ObjectId, by: Actor) -> ErasureManifest:
    """Erase what a user said in a tenant and what its audit trail tells of them; the account stays."""
    return _erase(tenant_id, ErasureScope.USER, user_id, by)


def erase_chat(tenant_id: ObjectId, by: Actor) -> ErasureManifest:
    """Erase all conversations of a tenant with their figures. Tenant, team, keys and money stay."""
    return _erase(tenant_id, ErasureScope.CHAT, "", by)


def _erase(tenant_id: ObjectId, scope: ErasureScope, subject: object, by: Actor) -> ErasureManifest:
    manifest = resume(Erasure.objects.begin(tenant_id, scope, subject, by))
    AuditEvent.objects.record(by, f"{scope}.erased", manifest, tenant_id=tenant_id)
    return manifest


def resume(erasure: Erasure) -> ErasureManifest:
    """Do what is left of an erasure. Repeatable, also beside another process that does the same."""
    to_be_erased = sessions_of(erasure)
    while ids := _some(ChatSession, to_be_erased, BATCH_SESSIONS):
        remove_sessions(erasure, ids)
    match erasure.scope:
        case ErasureScope.VISITOR:
            deletion.forget_person(erasure.tenant, "visitor", erasure.subject)
        case ErasureScope.USER:
            deletion.forget_person(erasure.tenant, "user", erasure.subject)
            _clear_audit_trail(erasure)
        case ErasureScope.CHAT:
            _remove_what_no_session_has(erasure)
    return erasure.finish()


def sessions_of(erasure: Erasure) -> dict[str, Any]:
    """Return the condition that finds the sessions to be erased."""
    own = {
        ErasureScope.SESSION: lambda: {"_id": ObjectId(erasure.subject)},
        ErasureScope.VISITOR: lambda: {"visitor": erasure.subject},
        ErasureScope.USER: lambda: {"user_id": ObjectId(erasure.subject)},
        ErasureScope.CHAT: dict,
    }
    return {"tenant_id": erasure.tenant, **own[ErasureScope(erasure.scope)]()}


def remove_sessions(erasure: Erasure, ids: Sequence[ObjectId]) -> None:
    """Remove sessions with all that hangs on them, turns that still run included."""
    of_sessions = {"session_id": {"$in": list(ids)}, "tenant_id": erasure.tenant}
    ChatSession.collection().update_many(
        {"_id": {"$in": list(ids)}, "tenant_id": erasure.tenant},
        {"$set": {"status": ChatSession.Status.CLOSED.value}},
    )
    _stop_turns(of_sessions)
    # What was spent is on the ledger before the reply that tells of it goes.
    settlement.settle(replies.unsettled(of_sessions))
    for reply_ids in _replies(of_sessions):
        named = {"reply": {"$in": reply_ids}, "session": {"$ne": None}}
        erasure.clear(LedgerEntry.collection(), named, {"session": None})
    forget_responses(ids)
    deletion.remove_sessions(erasure.tenant, ids, erasure.add_to_counts)


def _stop_turns(of_sessions: dict[str, Any]) -> None:
    running = {**of_sessions, "status": Message.Status.STREAMING.value}
    Message.collection().update_many(running, {"$set": {"cancel_requested": True}})
    deadline = time.monotonic() + STOP_SECONDS
    while Message.collection().find_one(running, {"_id": 1}) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _replies(of_sessions: dict[str, Any]) -> Iterator[list[ObjectId]]:
    """Yield the ids of all replies, some at a time."""
    found = Message.collection().find({**of_sessions, "role": Message.Role.ASSISTANT.value}, {"_id": 1})
    while ids := [row["_id"] for row in islice(found, BATCH_REPLIES)]:
        yield ids


def _clear_audit_trail(erasure: Erasure) -> None:
    """What was done stays on record, who did it and from where does not."""
    user_id = ObjectId(erasure.subject)
    own = {"tenant_id": erasure.tenant}
    nobody = {"actor_id": None, "actor_name": "", "address": "", "user_agent": "", "request_id": ""}
    erasure.clear(AuditEvent.collection(), {**own, "actor_id": user_id}, nobody)
    about = {**own, "target_type": "user", "target_id": str(user_id)}
    erasure.clear(AuditEvent.collection(), about, {"target_id": "", "target_name": ""})


def _remove_what_no_session_has(erasure: Erasure) -> None:
    """Messages whose session was gone before they came, and the figures of all that is gone."""
    of_tenant = {"tenant_id": erasure.tenant}
    while ids := _some(Message, of_tenant, deletion.BATCH):
        deletion.remove_messages(erasure.tenant, ids, erasure.add_to_counts)
    erasure.remove(RollupCoverage.collection(), {"_id": erasure.tenant})
    erasure.remove(Rollup.collection(), of_tenant)


def _some(model: type[ChatSession | Message], match: dict[str, Any], limit: int) -> list[ObjectId]:
    return [row["_id"] for row in model.collection().find(match, {"_id": 1}, limit=limit)]
