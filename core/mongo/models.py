"""The base class of every document of this project. This app has no collection of its own.

Requests, jobs and commands change the same documents at once. So a stored document is only changed by updates
that name its fields and require that it still exists, and is never inserted again:

- `update()` writes what differs, whatever others have written meanwhile: nothing of either is lost;
- `save(update_fields=...)` writes the named fields, for values that do not depend on stored ones;
- `QuerySet.update()` and raw commands name the state that they require in their filter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from bson import Decimal128, Int64
from django.db import connection, models
from django.db.models.base import ModelBase, ModelState
from pymongo.collection import Collection

from core.errors import Conflict, NotFound, PreconditionFailed
from core.mongo import database
from core.time import in_milliseconds, now_in_milliseconds, utc

#: {field: (before, after)}
Changes = dict[str, tuple[Any, Any]]

#: How often a change starts over because another one of the same document was faster.
_CHANGE_TRIES = 20

_MILLISECOND = timedelta(milliseconds=1)


class Document(models.Model):
    """A document with the times of its creation and last change, both in UTC.

    `updated_at` is also its version: `update()` sets it to a later time than any before, also where clocks
    differ. `QuerySet.update()` does not change it: name it there where it matters. A model with a field
    `deleted_at` counts as deleted once that is set.
    """

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    _pinned_version: datetime | None = None

    class Meta:
        abstract = True

    def save(
        self,
        *args: Any,
        force_insert: bool | tuple[ModelBase, ...] = False,
        update_fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Insert a new document, or write the fields `update_fields` of a stored one.

        They must be named: the other values of this instance may be older than the stored ones. Raises
        NotFound if the document was deleted meanwhile, and IntegrityError for a new one whose id is taken.

        The instance then has its times as the database keeps them, to the millisecond. Otherwise the
        response that creates a document would differ from the next one that reads it.
        """
        if update_fields is None:
            if not self._state.adding:
                raise TypeError(f"Saving a stored {self._meta.verbose_name} needs update_fields.")
            force_insert = True  # Django would otherwise first try to update the document with this id.
        super().save(*args, force_insert=force_insert, update_fields=update_fields, **kwargs)
        for field in self._meta.concrete_fields:
            value = self.__dict__.get(field.attname)
            if isinstance(value, datetime):
                setattr(self, field.attname, in_milliseconds(value))

    def _do_update(self, *args: Any, **kwargs: Any) -> Any:
        # Called by Django's save() only. Its own error for this is a plain DatabaseError.
        updated = super()._do_update(*args, **kwargs)
        if not updated:
            raise NotFound
        return updated

    def pin(self) -> None:
        """Have `update()` and `reread()` raise PreconditionFailed once the stored version is another."""
        self._pinned_version = self.updated_at

    def update(self, **values: Any) -> Changes:
        """Write those values that differ from the stored ones; return what has changed.

        Afterwards the instance is as it is stored. Raises NotFound for a document that was deleted since it
        was read, and PreconditionFailed for a pinned one that was changed.
        """
        return self.update_by(lambda: values)

    def update_by(self, values_now: Callable[[], Mapping[str, Any]]) -> Changes:
        """`update` to values that depend on those of this instance: each try calls `values_now` again."""
        for _ in range(_CHANGE_TRIES):
            changes = {
                name: (getattr(self, name), value)
                for name, value in values_now().items()
                if getattr(self, name) != value
            }
            if not changes or self._write({name: value for name, (_, value) in changes.items()}):
                return changes
            self.reread()
        raise Conflict("Others are changing this at the same time. Try again.", retry_after_seconds=1)

    def touch(self) -> None:
        """Make this a new version: what belongs to the document has changed. Raises as `update` does."""
        while not self._write({}):
            self.reread()

    def _write(self, values: Mapping[str, Any]) -> bool:
        """Write the values if the stored version is that of this instance; return whether it was."""
        if not self._is_version_wanted:
            return False
        now = max(now_in_milliseconds(), self.updated_at + _MILLISECOND)
        this_version = type(self)._base_manager.filter(pk=self.pk, updated_at=self.updated_at)
        if not this_version.update(**values, updated_at=now):
            return False
        for name, value in values.items():
            setattr(self, name, in_milliseconds(value) if isinstance(value, datetime) else value)
        self.updated_at = now
        if self._pinned_version is not None:
            self._pinned_version = now
        return True

    def reread(self) -> None:
        """Read all fields again. Raises as `update` does.

        In a transaction this also holds for what follows: if another one changes the document before the
        transaction does, the transaction fails and is repeated.
        """
        was_deleted = self._is_marked_deleted
        try:
            self.refresh_from_db()
        except self.DoesNotExist as error:
            raise NotFound from error
        if self._is_marked_deleted and not was_deleted:
            raise NotFound
        if not self._is_version_wanted:
            raise PreconditionFailed

    @property
    def _is_version_wanted(self) -> bool:
        return self._pinned_version in (None, self.updated_at)

    @property
    def _is_marked_deleted(self) -> bool:
        return getattr(self, "deleted_at", None) is not None

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the document and what belongs to it. Raises NotFound if it was deleted before."""
        count, by_model = super().delete(*args, **kwargs)
        if not by_model.get(self._meta.label):
            raise NotFound
        return count, by_model

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


def later_version(now: datetime) -> dict[str, Any]:
    """Return the expression of a raw pipeline update that sets `updated_at` as `Document.update` does."""
    return {"$max": [now, {"$add": ["$updated_at", 1]}]}


#: From types of the database to Python's; values of other types stay as they are.
_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    datetime: utc,
    Decimal128: Decimal128.to_decimal,
    Int64: int,
}
