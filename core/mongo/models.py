"""The base of every document of this project. This app has no collection of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self

from bson import Decimal128, Int64
from django.db import connection, models
from django.db.models.base import ModelState
from pymongo.collection import Collection

from core.time import in_milliseconds, utc


class Document(models.Model):
    """A document that knows when it was made and last saved, both in UTC.

    `QuerySet.update()` does not touch `updated_at`: name it there where it matters.
    """

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; the instance then holds its times as the database keeps them, to the millisecond.

        Otherwise the answer that creates a document and the next that reads it would differ.
        """
        super().save(*args, **kwargs)
        for field in self._meta.concrete_fields:
            value = self.__dict__.get(field.attname)
            if isinstance(value, datetime):
                setattr(self, field.attname, in_milliseconds(value))

    @classmethod
    def collection(cls) -> Collection:
        """The collection in pymongo's terms, for what must be one round trip.

        Raw documents carry column names (`tenant_id`), naive UTC datetimes and Decimal128.
        """
        return connection.get_collection(cls._meta.db_table)

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> Self:
        """Return the instance that the ORM would have loaded from a raw document.

        Fields that `raw` lacks read as None, as they do in the ORM. Signals are not sent: `Model.__init__`
        costs more than the rest of reading a document, and every request reads several.
        """
        instance = cls.__new__(cls)
        instance._state = ModelState()
        instance._state.adding = False
        instance._state.db = connection.alias
        values = instance.__dict__
        for name, column in _names(cls):
            value = raw.get(column)
            convert = _CONVERTED.get(type(value))
            values[name] = convert(value) if convert else value
        return instance


@functools.cache
def _names(model: type[Document]) -> list[tuple[str, str]]:
    """The attributes and columns of a model; looking them up each time costs as much as reading."""
    return [(field.attname, field.column) for field in model._meta.concrete_fields]


#: What Python has for what the database returns; all the rest stays as it is.
_CONVERTED: dict[type, Callable[[Any], Any]] = {
    datetime: utc,
    Decimal128: Decimal128.to_decimal,
    Int64: int,
}
