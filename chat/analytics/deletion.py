"""Messages and sessions go, their figures stay.

Retention, erasure and the deletion of a session all remove through here. What is removed is counted
in the same transaction into the `kept` part of its quarter hours, which names nobody: the people in
it are digests, and `forget_person` cuts even that tie.
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
from chat.analytics.calendar_rollups import LONGEST
from chat.analytics.counting import Counted, count_messages, count_sessions
from chat.analytics.metrics import Figures, packed, person, unpacked
from chat.analytics.models import Rollup
from chat.analytics.rollup_store import quarter_key
from chat.models import ChatSession, Message
from core.mongo.models import Document
from core.time import utc

BATCH = 1000

#: Is told, within the transaction, from which collection how many documents of which times are removed.
Note = Callable[[ClientSession, str, int, Sequence[datetime]], None]


@dataclass(slots=True)
class Removed:
    sessions: int = 0
    messages: int = 0


def remove_sessions(
    tenant_id: ObjectId, session_ids: Sequence[ObjectId], note: Note | None = None
) -> Removed:
    """Remove sessions with all their messages; return how many of both there were.

    Repeatable: stopping in between leaves sessions with fewer messages. `note` is told of each removal
    within its transaction.
    """
    removed = Removed()
    in_sessions = {"session_id": {"$in": list(session_ids)}, "tenant_id": tenant_id}
    while ids := [row["_id"] for row in Message.collection().find(in_sessions, {"_id": 1}, limit=BATCH)]:
        removed.messages += remove_messages(tenant_id, ids, note)
    for at in range(0, len(session_ids), BATCH):
        removed.sessions += _remove(ChatSession, tenant_id, session_ids[at : at + BATCH], note)
    return removed


def remove_messages(tenant_id: ObjectId, message_ids: Sequence[ObjectId], note: Note | None = None) -> int:
    """Remove messages; return how many there were. Their sessions must still be there to be counted."""
    batches = range(0, len(message_ids), BATCH)
    return sum(_remove(Message, tenant_id, message_ids[at : at + BATCH], note) for at in batches)


def forget_person(tenant_id: ObjectId, kind: Literal["user", "visitor"], identity: object) -> None:
    """Have a number of chance stand for a person in all figures, whose sessions are removed already.

    Nobody can tell any more whether the person was there, and all counts stay.
    """
    known, unknown = person(tenant_id, kind, identity), secrets.randbits(64) - 2**63
    quarters = {"tenant_id": tenant_id, "kind": Rollup.Kind.QUARTER.value}
    for part in ("live", "kept"):
        path = f"{part}.{kind}s"
        for row in Rollup.collection().find({**quarters, path: {"$exists": True}}, {path: 1}):
            there = row[part][f"{kind}s"]
            people = unpacked(there)
            if known in people:
                # Whoever changes these people at this moment counts without the removed sessions.
                Rollup.collection().update_one(
                    {"_id": row["_id"], path: there}, {"$set": {path: packed(people - {known} | {unknown})}}
                )
    Rollup.collection().delete_many({**quarters, "kind": {"$in": list(LONGEST)}})


def _remove(model: type[Document], tenant_id: ObjectId, ids: Sequence[ObjectId], note: Note | None) -> int:
    match = {"_id": {"$in": list(ids)}, "tenant_id": tenant_id}
    moments = [utc(row["created_at"]) for row in model.collection().find(match, {"created_at": 1})]
    rollups.mark(tenant_id, moments)

    def move_figures(session: ClientSession) -> int:
        counted = Counted()
        if model is Message:
            count_messages(counted, tenant_id, match, session)
        else:
            count_sessions(counted, match, session)
        _keep(tenant_id, counted.quarters, session)
        count = model.collection().delete_many(match, session=session).deleted_count
        if note:
            note(session, model.collection().name, count, moments)
        return count

    with Rollup.collection().database.client.start_session() as session:
        return session.with_transaction(move_figures)


def _keep(tenant_id: ObjectId, quarters: Mapping[datetime, Figures], session: ClientSession) -> None:
    keys = [quarter_key(tenant_id, quarter) for quarter in quarters]
    for key, figures in zip(keys, quarters.values(), strict=True):
        row = Rollup.collection().find_one(key, {"kept": 1}, session=session)
        figures.add(Figures.from_document(row["kept"] if row else {}))
        now = timezone.now()
        new = {"marks": 0, "marked_at": None, "live": {}, "fresh": False, "created_at": now}
        Rollup.collection().update_one(
            key,
            {"$set": {"kept": figures.document(), "updated_at": now}, "$setOnInsert": new},
            upsert=True,
            session=session,
        )
