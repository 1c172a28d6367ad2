"""How many bytes of conversations a tenant keeps, as its plan limits them.

What is stored is counted with the limits of a turn, in the same update; the estimates here are upper bounds.
What is deleted is subtracted by its true size. Before a limit refuses, everything is counted again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from bson import ObjectId
from django.utils import timezone

from chat.models import ChatSession, Message
from chat.visitor_identity import IDENTITY_BYTES, VisitorIdentity
from core.mongo.models import Document
from core.mongo.text_search import inner_words
from tenants.billing.limits import KeptDataLimit
from tenants.models import Usage

#: Documents without text: a session with its visitor's identity; a question and its reply; one attempt of a
#: reply.
SESSION_BYTES = 1024 + IDENTITY_BYTES
TURN_BYTES = 3072
ATTEMPT_BYTES = 768

#: A tenant at its limit is counted again at most this often: each time reads all of its conversations.
RECOUNT_INTERVAL = timedelta(minutes=10)

_RECOUNT_MS = 20_000

COUNTED = (ChatSession, Message, VisitorIdentity)

Result = TypeVar("Result")


def session_bytes(fields: Mapping[str, Any]) -> int:
    """Return the most bytes that a new session with these fields takes."""
    return SESSION_BYTES + _json_bytes(fields)


def turn_bytes(text: str, metadata: Mapping[str, Any]) -> int:
    """Return the most bytes that a question and its reply without text take."""
    return TURN_BYTES + _text_bytes(text) + _json_bytes(metadata)


def reply_bytes(text: str, attempts: Sequence[Any]) -> int:
    """Return the most bytes that the end of a run adds to its reply."""
    return _text_bytes(text) + ATTEMPT_BYTES * len(attempts)


def recounting(tenant_id: ObjectId, admit: Callable[[], Result]) -> Result:
    """Return `admit()`, tried once more after a recount if it raises KeptDataLimit."""
    try:
        return admit()
    except KeptDataLimit:
        if not recount(tenant_id):
            raise
        return admit()


def recount(tenant_id: ObjectId) -> bool:
    """Set the counter to the size of all conversations. False if that was done a moment ago."""
    now = timezone.now()
    due = {"$not": {"$gt": now - RECOUNT_INTERVAL}}
    claim = Usage.collection().update_one(
        {"_id": tenant_id, "kept_counted_at": due}, {"$set": {"kept_counted_at": now}}
    )
    if not claim.modified_count:
        return False
    kept = sum(stored_bytes(model, {"tenant_id": tenant_id}) for model in COUNTED)
    Usage.collection().update_one({"_id": tenant_id}, {"$set": {"kept_bytes": kept}})
    return True


def stored_bytes(model: type[Document], match: Mapping[str, Any]) -> int:
    stages: list[dict[str, Any]] = [
        {"$match": match},
        {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}},
    ]
    found = list(model.collection().aggregate(stages, maxTimeMS=_RECOUNT_MS))
    return int(found[0]["bytes"]) if found else 0


def _text_bytes(text: str) -> int:
    """Return what a text takes with the words within it that are stored for searches."""
    return len(text.encode("utf-8", "replace")) + len(inner_words(text).encode("utf-8", "replace"))


def _json_bytes(fields: Mapping[str, Any]) -> int:
    # A number takes up to 8 bytes, and each value a type and the length of its name.
    return 2 * len(json.dumps(fields, ensure_ascii=False, default=str).encode("utf-8", "replace"))
