"""The base class of every document of this project. This app has no collection of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self

from bson import Decimal128, Int64
from django.db import connection, models
from django.db.models.base import ModelState
from pymongo.collection import Collection

from core.mongo import database
from core.time import in_milliseconds, utc


class Document(models.Model):
    """A document with the times of its creation and last change, both in UTC.

    `QuerySet.update()` does not change `updated_at`: name it there where it matters.
    """

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; the instance then has its times as the database keeps them, to the millisecond.

        Otherwise the response that creates a document would differ from the next one that reads it.
        """
        super().save(*args, **kwargs)
        for field in self._meta.concrete_fields:
            value = self.__dict__.get(field.attname)
            if isinstance(value, datetime):
                setattr(self, field.attname, in_milliseconds(value))

    @classmethod
    def collection(cls) -> Collection[dict[str, Any]]:
        """Return the pymongo collection, for operations that must be one round trip.

        Raw documents have column names (`tenant_id`), naive UTC datetimes and Decimal128.
        """
        return database.collection(cls._meta.db_table)

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> Self:
        """Return the instance that the ORM would have loaded from a raw document.

        Fields missing in `raw` are None, as in the ORM. No signals are sent: `Model.__init__` costs
        more than the rest of reading a document, and every request reads several.
        """
        instance = cls.__new__(cls)
        instance._state = ModelState()
        instance._state.adding = False
        instance._state.db = connection.alias
        values = instance.__dict__
        for name, column in _columns(cls):
            value = raw.get(column)
            convert = _CONVERTERS.get(type(value))
            values[name] = convert(value) if convert else value
        return instance


@functools.cache
def _columns(model: type[Document]) -> list[tuple[str, str]]:
    """Return attribute and column of each field; computing them each time costs as much as reading."""
    return [(field.attname, field.column) for field in model._meta.concrete_fields if field.column]


#: From types of the database to Python's; values of other types stay as they are.
_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    datetime: utc,
    Decimal128: Decimal128.to_decimal,
    Int64: int,
}
