"""Erases people and conversations; their metrics and ledger entries stay.

Deleting a session, erasing a visitor, a user or all of a tenant's conversations, and retention
(`chat.retention`) differ only in which sessions they erase. Each is an `Erasure`, stored before the first
document is deleted, which any process can resume. Per batch of sessions, each step repeatable:

    mark ── stop running turns ── settle ── clear the ledger's references ── forget responses ── delete

A session is marked as deleted first, so that no request finds or changes it any more, and deleted last, so
that a process which resumes the erasure finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any

from bson import ObjectId
from django.utils import timezone

from chat.analytics import deletion
from chat.analytics.models import Rollup, RollupCoverage
from chat.models import ChatSession, Message
from chat.turns import replies, settlement
from chat.visitor_identity import VisitorIdentity
from core.api.idempotency import forget_responses
from core.audit.models import Actor, AuditEvent
from core.mongo.models import later_version
from core.mongo.transactions import in_transaction
from tenants.models import Erasure, ErasureManifest, LedgerEntry
from tenants.models.erasure import ErasureScope

BATCH_SESSIONS = 100
#: Replies whose ledger entries are cleared at once.
BATCH_REPLIES = 1000

#: How long to wait for running turns to stop. One that does not has lost its worker, or will find that its
#: reply was deleted.
STOP_SECONDS = 3.0
POLL_SECONDS = 0.05


def erase_session(session: ChatSession, by: Actor) -> ErasureManifest:
    """Erase one session. Raises NotFound for one whose erasure has begun since it was read, and
    PreconditionFailed, with nothing erased, for a pinned one that was changed.
    """

    def begin() -> Erasure:
        this = copy(session)  # The transaction may be repeated: the session stays as it was read.
        this.update_by(lambda: {} if this.deleted_at else {"deleted_at": timezone.now()})
        return Erasure.objects.begin(session.tenant_id, ErasureScope.SESSION, session.pk, by)

    return _finish(in_transaction(begin), by)


def erase_visitor(tenant_id: ObjectId, visitor: str, by: Actor) -> ErasureManifest:
    if not visitor:
        raise ValueError("A visitor is needed: sessions without one belong to no visitor.")
    return _erase(tenant_id, ErasureScope.VISITOR, visitor, by)


def erase_user(tenant_id: ObjectId, user_id: ObjectId, by: Actor) -> ErasureManifest:
    """Erase a user's conversations in a tenant and their data in its audit trail; the account stays."""
    return _erase(tenant_id, ErasureScope.USER, user_id, by)


def erase_chat(tenant_id: ObjectId, by: Actor) -> ErasureManifest:
    """Erase all conversations of a tenant and their metrics. Tenant, team, keys and ledger stay."""
    return _erase(tenant_id, ErasureScope.CHAT, "", by)


def _erase(tenant_id: ObjectId, scope: ErasureScope, subject: object, by: Actor) -> ErasureManifest:
    return _finish(Erasure.objects.begin(tenant_id, scope, subject, by), by)


def _finish(erasure: Erasure, by: Actor) -> ErasureManifest:
    manifest = resume(erasure)
    AuditEvent.objects.record(by, f"{erasure.scope}.erased", manifest, tenant_id=erasure.tenant)
    return manifest


def resume(erasure: Erasure) -> ErasureManifest:
    """Finish an erasure. Repeatable, also by several processes at once."""
    _remove_identities(erasure)
    match = sessions_of(erasure)
    while ids := _find_ids(ChatSession, match, BATCH_SESSIONS):
        erase_sessions(erasure, ids)
    match erasure.scope:
        case ErasureScope.VISITOR:
            deletion.anonymize_person(erasure.tenant, "visitor", erasure.subject)
        case ErasureScope.USER:
            deletion.anonymize_person(erasure.tenant, "user", erasure.subject)
            _clear_audit_trail(erasure)
        case ErasureScope.CHAT:
            _delete_orphans_and_metrics(erasure)
    return erasure.finish()


def _remove_identities(erasure: Erasure) -> None:
    """Revoke the tokens of the visitors concerned first: they open no session from here on."""
    of_tenant = {"tenant_id": erasure.tenant}
    match erasure.scope:
        case ErasureScope.VISITOR:
            erasure.remove(VisitorIdentity.collection(), {**of_tenant, "visitor": erasure.subject})
        case ErasureScope.CHAT:
            erasure.remove(VisitorIdentity.collection(), of_tenant)


def sessions_of(erasure: Erasure) -> dict[str, Any]:
    """Return the condition that finds the sessions to be erased."""
    own: dict[ErasureScope, Callable[[], dict[str, Any]]] = {
        ErasureScope.SESSION: lambda: {"_id": ObjectId(erasure.subject)},
        ErasureScope.VISITOR: lambda: {"visitor": erasure.subject},
        ErasureScope.USER: lambda: {"user_id": ObjectId(erasure.subject)},
        ErasureScope.CHAT: dict,
    }
    return {"tenant_id": erasure.tenant, **own[ErasureScope(erasure.scope)]()}


def erase_sessions(erasure: Erasure, ids: Sequence[ObjectId]) -> None:
    """Erase sessions with their messages, including turns that are still running."""
    of_sessions = {"session_id": {"$in": list(ids)}, "tenant_id": erasure.tenant}
    now = timezone.now()
    ChatSession.collection().update_many(
        {"_id": {"$in": list(ids)}, "tenant_id": erasure.tenant},
        [{"$set": {"deleted_at": {"$ifNull": ["$deleted_at", now]}, "updated_at": later_version(now)}}],
    )
    _stop_turns(of_sessions)
    # The cost of a reply must be on the ledger before the reply is deleted.
    settlement.settle(replies.unsettled(of_sessions))
    for reply_ids in _reply_batches(of_sessions):
        with_session = {"reply": {"$in": reply_ids}, "session": {"$ne": None}}
        erasure.clear(LedgerEntry.collection(), with_session, {"session": None})
    forget_responses(ids)
    deletion.delete_sessions(erasure.tenant, ids, erasure.add_to_counts)


def _stop_turns(of_sessions: dict[str, Any]) -> None:
    running = {**of_sessions, "status": Message.Status.STREAMING.value}
    Message.collection().update_many(running, {"$set": {"cancel_requested": True}})
    deadline = time.monotonic() + STOP_SECONDS
    while Message.collection().find_one(running, {"_id": 1}) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _reply_batches(of_sessions: dict[str, Any]) -> Iterator[list[ObjectId]]:
    """Yield the ids of all replies in batches."""
    found = Message.collection().find({**of_sessions, "role": Message.Role.ASSISTANT.value}, {"_id": 1})
    while ids := [row["_id"] for row in islice(found, BATCH_REPLIES)]:
        yield ids


def _clear_audit_trail(erasure: Erasure) -> None:
    """Remove from the audit trail who acted and from where; what was done stays."""
    user_id = ObjectId(erasure.subject)
    own = {"tenant_id": erasure.tenant}
    no_actor = {"actor_id": None, "actor_name": "", "address": "", "user_agent": "", "request_id": ""}
    erasure.clear(AuditEvent.collection(), {**own, "actor_id": user_id}, no_actor)
    about_user = {**own, "target_type": "user", "target_id": str(user_id)}
    erasure.clear(AuditEvent.collection(), about_user, {"target_id": "", "target_name": ""})


def _delete_orphans_and_metrics(erasure: Erasure) -> None:
    """Delete messages that were stored after the deletion of their session, and all metrics."""
    of_tenant = {"tenant_id": erasure.tenant}
    while ids := _find_ids(Message, of_tenant, deletion.BATCH):
        deletion.delete_messages(erasure.tenant, ids, erasure.add_to_counts)
    erasure.remove(RollupCoverage.collection(), {"_id": erasure.tenant})
    erasure.remove(Rollup.collection(), of_tenant)


def _find_ids(model: type[ChatSession | Message], match: dict[str, Any], limit: int) -> list[ObjectId]:
    return [row["_id"] for row in model.collection().find(match, {"_id": 1}, limit=limit)]
