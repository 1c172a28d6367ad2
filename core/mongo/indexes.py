"""Indexes that Django has no class for. The rest is plain `models.Index`.

Uniqueness needs no class of its own: `unique=True` and `UniqueConstraint` create one index that
enforces it and that queries use, also where the field may be null (core.mongo.engine.schema).
With `UniqueConstraint(condition=...)` only queries that repeat the condition can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.db import models
from django_mongodb_backend.indexes import get_pymongo_index_model
from pymongo import TEXT, IndexModel


def column_field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """Return the field of that name, which has a column (unlike a reverse relation)."""
    return cast("models.Field[Any, Any]", model._meta.get_field(name))


class TTLIndex(models.Index):
    """An index on one date; the server deletes a document `expire_after_seconds` after that date.

    The server does so about once a minute, so readers still have to compare the date. Documents
    whose date is null stay. With a `condition` only documents that meet it are deleted.
    """

    suffix = "ttl"

    def __init__(self, *, expire_after_seconds: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(self.fields) != 1:
            raise ValueError("A TTLIndex is on exactly one date field.")
        self.expire_after_seconds = expire_after_seconds

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "expire_after_seconds": self.expire_after_seconds}

    def get_pymongo_index_model(self, *args: Any, **kwargs: Any) -> IndexModel:
        """Return what django-mongodb-backend's schema editor creates."""
        document = get_pymongo_index_model(self, *args, **kwargs).document
        keys = list(document.pop("key").items())
        return IndexModel(keys, **document, expireAfterSeconds=self.expire_after_seconds)


class TextIndex(models.Index):
    """An index on the words of the fields `text`, for `content__words="…"` (core.mongo.text_search).

    Every query must give exact values of the fields before it. Each combination of these has an
    index of words of its own, so one tenant's words are never searched for another's query. The
    fields after it filter hits before documents are read. Words are separated by spaces and
    punctuation; case and accents are ignored. The language is "none": no stop words and no
    stemming. A collection has one such index at most.
    """

    suffix = "text"

    def __init__(self, *, text: str | Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = [text] if isinstance(text, str) else list(text)
        if not set(self.text) <= set(self.fields):
            raise ValueError("A TextIndex names its texts among its fields.")

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "text": self.text}

    def get_pymongo_index_model(self, model: type[models.Model], *args: Any, **kwargs: Any) -> IndexModel:
        """Return what django-mongodb-backend's schema editor creates."""
        document = get_pymongo_index_model(self, model, *args, **kwargs).document
        texts = {column_field(model, name).column: TEXT for name in self.text}
        keys = document.pop("key") | texts
        return IndexModel(list(keys.items()), **document, default_language="none")
