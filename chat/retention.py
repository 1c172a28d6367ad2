"""Conversations leave when nothing has happened in them for as long as their tenant keeps them.

The tenant's setting holds, else its plan's; without either they stay. What counts is a session's last
activity: a conversation goes as a whole or not at all, and never while it is being answered.
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
from tenants.models import Erasure, ErasureManifest, Tenant
from tenants.models.erasure import ErasureScope

BATCH_SESSIONS = 500

#: From closing sessions to looking whether one got a message: a request that read its session
#: as open has stored its question by then.
SETTLE_SECONDS = 1.0


def retention_days(tenant: Tenant) -> int | None:
    """Return how long a conversation of the tenant is kept; None for ever."""
    return tenant.plan.retention_days if tenant.retention_days is None else tenant.retention_days


def count_due(tenant: Tenant) -> int:
    """Return how many sessions `prune` would look at; those that run just now stay."""
    due = _due(tenant)
    return ChatSession.collection().count_documents(due) if due else 0


def prune(tenant: Tenant, batch: int = BATCH_SESSIONS) -> ErasureManifest | None:
    """Remove the sessions that are due, `batch` at a time; return what went, None if nothing was due.

    Stopped half-way, the next call does the rest and its manifest has both.
    """
    due = _due(tenant)
    under_way = Erasure.objects.filter(tenant=tenant.pk, scope=ErasureScope.RETENTION).first()
    if under_way is None and (due is None or not ChatSession.collection().find_one(due, {"_id": 1})):
        return None
    removing = under_way or Erasure.objects.begin(tenant.pk, ErasureScope.RETENTION, "", SYSTEM)
    busy: list[ObjectId] = []
    while due and (rows := _oldest({**due, "_id": {"$nin": busy}}, batch)):
        idle = _close_idle(rows, since=due["last_message_at"]["$lt"])
        busy += [row["_id"] for row in rows if row["_id"] not in idle]
        erasure.remove_sessions(removing, list(idle))
    return removing.finish()


def _due(tenant: Tenant) -> dict[str, Any] | None:
    days = retention_days(tenant)
    if days is None:
        return None
    return {"tenant_id": tenant.pk, "last_message_at": {"$lt": timezone.now() - timedelta(days=days)}}


def _oldest(match: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    order = [("last_message_at", 1), ("_id", 1)]
    return list(ChatSession.collection().find(match, {"status": 1}, sort=order, limit=limit))


def _close_idle(rows: list[dict[str, Any]], since: datetime) -> set[ObjectId]:
    """Close the sessions in which nothing happened `since`, and return them; the others stay as they are."""
    ids = {row["_id"] for row in rows}
    idle = ids - _active(ids, since)
    _set_status(idle, ChatSession.Status.CLOSED)
    if idle:
        time.sleep(SETTLE_SECONDS)
    woken = _active(idle, since)
    _set_status(
        {row["_id"] for row in rows if row["_id"] in woken and row["status"] == ChatSession.Status.ACTIVE},
        ChatSession.Status.ACTIVE,
    )
    return idle - woken


def _active(ids: set[ObjectId], since: datetime) -> set[ObjectId]:
    """Those with a message that is newer, ended later or is being answered."""
    signs = [
        {"status": Message.Status.STREAMING.value},
        {"created_at": {"$gte": since}},
        {"finished_at": {"$gte": since}},
    ]
    match = {"session_id": {"$in": list(ids)}, "$or": signs}
    return {row["_id"] for row in _sessions(match)}


def _sessions(match: dict[str, Any]) -> list[dict[str, Any]]:
    return list(Message.collection().aggregate([{"$match": match}, {"$group": {"_id": "$session_id"}}]))


def _set_status(ids: set[ObjectId], status: ChatSession.Status) -> None:
    ChatSession.collection().update_many({"_id": {"$in": list(ids)}}, {"$set": {"status": status.value}})
