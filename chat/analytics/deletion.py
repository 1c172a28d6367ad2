"""Deletes messages and sessions, and keeps their metrics.

Retention, erasure and the deletion of a session all use this. What is deleted is counted, in the same
transaction, into the archived metrics of its quarter hours. These identify no person: people are counted
by digests, and `anonymize_person` replaces a person's digest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bson import ObjectId
from django.utils import timezone
from pymongo.client_session import ClientSession

from chat.analytics import rollups
from chat.analytics.calendar_rollups import MAX_LENGTH
from chat.analytics.counting import QuarterMetrics, count_messages, count_sessions
from chat.analytics.metrics import Metrics, pack_digests, person_digest, unpack_digests
from chat.analytics.models import Rollup
from chat.analytics.rollup_store import quarter_key
from chat.kept_data import stored_bytes
from chat.models import ChatSession, Message
from core.mongo.models import Document
from core.time import utc
from tenants.billing.counters import subtract_kept_update
from tenants.models import Usage

BATCH = 1000

#: Called in the transaction of each deletion with its session, the name of the collection, the number of
#: deleted documents and the times of their creation.
DeletionCallback = Callable[[ClientSession, str, int, Sequence[datetime]], None]


@dataclass(slots=True)
class DeletedCounts:
    sessions: int = 0
    messages: int = 0


def delete_sessions(
    tenant_id: ObjectId, session_ids: Sequence[ObjectId], on_delete: DeletionCallback | None = None
) -> DeletedCounts:
    """Delete sessions with all their messages; return how many of both.

    Repeatable: a process that dies in between leaves sessions with fewer messages.
    """
    deleted = DeletedCounts()
    in_sessions = {"session_id": {"$in": list(session_ids)}, "tenant_id": tenant_id}
    while ids := [row["_id"] for row in Message.collection().find(in_sessions, {"_id": 1}, limit=BATCH)]:
        deleted.messages += delete_messages(tenant_id, ids, on_delete)
    for first in range(0, len(session_ids), BATCH):
        deleted.sessions += _delete(ChatSession, tenant_id, session_ids[first : first + BATCH], on_delete)
    return deleted


def delete_messages(
    tenant_id: ObjectId, message_ids: Sequence[ObjectId], on_delete: DeletionCallback | None = None
) -> int:
    """Delete messages; return how many. Their sessions must still exist: they identify who asked."""
    return sum(
        _delete(Message, tenant_id, message_ids[first : first + BATCH], on_delete)
        for first in range(0, len(message_ids), BATCH)
    )


def anonymize_person(tenant_id: ObjectId, kind: Literal["user", "visitor"], identity: object) -> None:
    """Replace a person's digest in all metrics by a random number. Their sessions are deleted already.

    All counts stay, and it can no longer be tested whether the person was among those counted.
    """
    known, unknown = person_digest(tenant_id, kind, identity), secrets.randbits(64) - 2**63
    quarters = {"tenant_id": tenant_id, "kind": Rollup.Kind.QUARTER.value}
    for column in ("live", "kept"):
        path = f"{column}.{kind}s"
        for row in Rollup.collection().find({**quarters, path: {"$exists": True}}, {path: 1}):
            packed = row[column][f"{kind}s"]
            digests = unpack_digests(packed)
            if known in digests:
                # If another process changes them now, it has counted without the deleted sessions.
                changed = pack_digests(digests - {known} | {unknown})
                Rollup.collection().update_one({"_id": row["_id"], path: packed}, {"$set": {path: changed}})
    Rollup.collection().delete_many({**quarters, "kind": {"$in": list(MAX_LENGTH)}})


def _delete(
    model: type[Document], tenant_id: ObjectId, ids: Sequence[ObjectId], on_delete: DeletionCallback | None
) -> int:
    match = {"_id": {"$in": list(ids)}, "tenant_id": tenant_id}
    moments = [utc(row["created_at"]) for row in model.collection().find(match, {"created_at": 1})]
    rollups.invalidate(tenant_id, moments)

    size = stored_bytes(model, match)

    def archive_and_delete(session: ClientSession) -> int:
        counted = QuarterMetrics()
        if model is Message:
            count_messages(counted, tenant_id, match, session)
        else:
            count_sessions(counted, match, session)
        _archive(tenant_id, counted.quarters, session)
        count = model.collection().delete_many(match, session=session).deleted_count
        if on_delete:
            on_delete(session, model.collection().name, count, moments)
        return count

    with Rollup.collection().database.client.start_session() as session:
        count = session.with_transaction(archive_and_delete)
    Usage.collection().update_one({"_id": tenant_id}, subtract_kept_update(size))
    return count


def _archive(tenant_id: ObjectId, quarters: Mapping[datetime, Metrics], session: ClientSession) -> None:
    for quarter, metrics in quarters.items():
        key = quarter_key(tenant_id, quarter)
        row = Rollup.collection().find_one(key, {"kept": 1}, session=session)
        metrics.add(Metrics.from_document(row["kept"] if row else {}))
        now = timezone.now()
        Rollup.collection().update_one(
            key,
            {
                "$set": {"kept": metrics.document(), "updated_at": now},
                "$setOnInsert": {
                    "marks": 0,
                    "marked_at": None,
                    "live": {},
                    "fresh": False,
                    "created_at": now,
                },
            },
            upsert=True,
            session=session,
        )
