"""Ids of documents: ObjectIds, shown as 24 hex digits."""

from __future__ import annotations

from bson import ObjectId


def object_id(text: object) -> ObjectId | None:
    """Return the id that `text` spells in 24 hex digits, or None."""
    if isinstance(text, ObjectId):
        return text
    return ObjectId(text) if isinstance(text, str) and ObjectId.is_valid(text) else None
