"""Deletes conversations that have been inactive for the tenant's retention period.

The period is the tenant's own setting or that of its plan; without either nothing is deleted. A
conversation is deleted as a whole or not at all, and never while a reply is running.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone

from chat import erasure
from chat.models import ChatSession, Message
from core.audit.models import SYSTEM
from core.mongo.models import later_version
from tenants.models import Erasure, ErasureManifest, Tenant
from tenants.models.erasure import ErasureScope

BATCH_SESSIONS = 500

#: Waited between closing sessions and checking them for new messages: a request that has read its session
#: as open has stored its question by then.
SETTLE_SECONDS = 1.0


def retention_days(tenant: Tenant) -> int | None:
    """Return for how many days an inactive conversation is kept; None without a limit."""
    return tenant.plan.retention_days if tenant.retention_days is None else tenant.retention_days


def count_due(tenant: Tenant) -> int:
    """Return how many sessions `prune` would check; active ones among them stay."""
    due = _due(tenant)
    return ChatSession.collection().count_documents(due) if due else 0


def prune(tenant: Tenant, batch: int = BATCH_SESSIONS) -> ErasureManifest | None:
    """Delete the sessions that are due, `batch` at a time; return what was deleted, None if none was due.

    If it is interrupted, the next call continues; its manifest then covers both.
    """
    due = _due(tenant)
    unfinished = Erasure.objects.filter(tenant=tenant.pk, scope=ErasureScope.RETENTION).first()
    if unfinished is None and (due is None or not ChatSession.collection().find_one(due, {"_id": 1})):
        return None
    pruning = unfinished or Erasure.objects.begin(tenant.pk, ErasureScope.RETENTION, "", SYSTEM)
    active: list[ObjectId] = []
    while due and (rows := _oldest({**due, "_id": {"$nin": active}}, batch)):
        inactive = _close_inactive(rows, since=due["last_message_at"]["$lt"])
        active += [row["_id"] for row in rows if row["_id"] not in inactive]
        erasure.erase_sessions(pruning, list(inactive))
    return pruning.finish()


def _due(tenant: Tenant) -> dict[str, Any] | None:
    days = retention_days(tenant)
    if days is None:
        return None
    return {"tenant_id": tenant.pk, "last_message_at": {"$lt": timezone.now() - timedelta(days=days)}}


def _oldest(match: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    order = [("last_message_at", 1), ("_id", 1)]
    return list(ChatSession.collection().find(match, {"status": 1}, sort=order, limit=limit))


def _close_inactive(rows: list[dict[str, Any]], since: datetime) -> set[ObjectId]:
    """Close and return the sessions without activity `since`; the others keep their status."""
    ids = {row["_id"] for row in rows}
    inactive = ids - _active(ids, since)
    _set_status(inactive, ChatSession.Status.CLOSED)
    if inactive:
        time.sleep(SETTLE_SECONDS)
    resumed = _active(inactive, since)
    _set_status(
        {row["_id"] for row in rows if row["_id"] in resumed and row["status"] == ChatSession.Status.ACTIVE},
        ChatSession.Status.ACTIVE,
    )
    return inactive - resumed


def _active(ids: set[ObjectId], since: datetime) -> set[ObjectId]:
    """Return the sessions with a message that was created or finished `since`, or is running."""
    activity = [
        {"status": Message.Status.STREAMING.value},
        {"created_at": {"$gte": since}},
        {"finished_at": {"$gte": since}},
    ]
    match = {"session_id": {"$in": list(ids)}, "$or": activity}
    sessions = Message.collection().aggregate([{"$match": match}, {"$group": {"_id": "$session_id"}}])
    return {row["_id"] for row in sessions}


def _set_status(ids: set[ObjectId], status: ChatSession.Status) -> None:
    change = {"status": status.value, "updated_at": later_version(timezone.now())}
    ChatSession.collection().update_many({"_id": {"$in": list(ids)}}, [{"$set": change}])
