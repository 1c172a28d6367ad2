"""The base of every document of this project. This app has no collection of its own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from bson import Decimal128
from django.db import connection, models
from pymongo.collection import Collection


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
                setattr(self, field.attname, value.replace(microsecond=value.microsecond // 1000 * 1000))

    @classmethod
    def collection(cls) -> Collection:
        """The collection in pymongo's terms, for what must be one round trip.

        Raw documents carry column names (`tenant_id`), naive UTC datetimes and Decimal128.
        """
        connection.ensure_connection()
        return connection.get_collection(cls._meta.db_table)

    @classmethod
    def from_document(cls, raw: Mapping[str, Any]) -> Self:
        """Return the instance that the ORM would have loaded from a raw document.

        Fields that `raw` lacks read as None, as they do in the ORM.
        """
        names, columns = _names(cls)
        return cls.from_db(connection.alias, names, [_python_value(raw.get(column)) for column in columns])


@functools.cache
def _names(model: type[Document]) -> tuple[list[str], list[str]]:
    """The attributes and the columns of a model; looking them up each time costs as much as reading."""
    fields = model._meta.concrete_fields
    return [field.attname for field in fields], [field.column for field in fields]


def _python_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return value
