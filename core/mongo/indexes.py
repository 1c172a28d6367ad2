"""Indexes that Django has no class for. The rest is plain `models.Index`.

Uniqueness needs no class of its own: `unique=True` and `UniqueConstraint` make one index that
enforces and is used by look-ups, also where the field may be null (core.mongo.engine.schema).
With `UniqueConstraint(condition=...)` only queries that repeat the condition can use it.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from pymongo import TEXT, IndexModel


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


class TextIndex(models.Index):
    """An index on the words of the field `text`, for `content__words="…"` (core.mongo.text_search).

    Every query must give the fields before it exactly. Each of their values has words of its own, so one
    tenant's are never looked for among another's. The fields after it narrow what is found before
    documents are read. A word is what stands between spaces and punctuation; case and accents don't
    matter. No language is preferred: none has stop words or stems. A collection has one such index at most.
    """

    suffix = "text"

    def __init__(self, *, text: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if text not in self.fields:
            raise ValueError("A TextIndex names its text among its fields.")
        self.text = text

    def deconstruct(self) -> tuple[str, tuple, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "text": self.text}

    def get_pymongo_index_model(self, model: type[models.Model], *args: Any, **kwargs: Any) -> IndexModel:
        """Return what django-mongodb-backend's schema editor creates."""
        document = super().get_pymongo_index_model(model, *args, **kwargs).document
        keys = document.pop("key") | {model._meta.get_field(self.text).column: TEXT}
        return IndexModel(list(keys.items()), **document, default_language="none")
