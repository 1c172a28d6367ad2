"""Indexes that Django has no class for. The rest is plain `models.Index`.

Uniqueness needs no class of its own: `unique=True` and `UniqueConstraint` make one index that
enforces and is used by look-ups, also where the field may be null (config.mongo.engine.schema).
With `UniqueConstraint(condition=...)` only queries that repeat the condition can use it.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from pymongo import IndexModel


class TTLIndex(models.Index):
    """An index on one date; the server deletes a document so many seconds after that date.

    The server sweeps about once a minute, so readers still have to look at the date. Documents
    whose date is null stay. With a `condition` only documents that meet it are deleted.
    """

    suffix = "ttl"

    def __init__(self, *, expire_after_seconds: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(self.fields) != 1:
            raise ValueError("A TTLIndex is on exactly one date field.")
        self.expire_after_seconds = expire_after_seconds

    def deconstruct(self) -> tuple[str, tuple, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "expire_after_seconds": self.expire_after_seconds}

    def get_pymongo_index_model(self, *args: Any, **kwargs: Any) -> IndexModel:
        """Return what django-mongodb-backend's schema editor creates."""
        document = super().get_pymongo_index_model(*args, **kwargs).document
        keys = list(document.pop("key").items())
        return IndexModel(keys, **document, expireAfterSeconds=self.expire_after_seconds)
