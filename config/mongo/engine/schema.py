"""The schema editor whose unique indexes are also used to find documents."""

from __future__ import annotations

from typing import Any

from django.db import models
from django_mongodb_backend import schema
from pymongo import IndexModel


class UniqueIndex(models.Index):
    """A unique index over all documents (or those of its condition), whatever the type of the value.

    Upstream limits every unique index to documents whose value has the field's type, so that nulls
    may repeat. The planner can't use such a partial index for `get(email=...)` and scans instead.
    Where no field may be null the limit says nothing, and is left out.
    """

    def get_pymongo_index_model(self, *args: Any, unique: bool = True, **kwargs: Any) -> IndexModel:
        document = super().get_pymongo_index_model(*args, unique=False, **kwargs).document
        return IndexModel(list(document.pop("key").items()), **document, unique=True)


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def add_index(
        self,
        model: type[models.Model],
        index: models.Index,
        *,
        field: models.Field | None = None,
        unique: bool = False,
        column_prefix: str = "",
        parent_model: type[models.Model] | None = None,
    ) -> None:
        if unique and not column_prefix and not _may_be_null(model, index, field):
            index = UniqueIndex(fields=index.fields, name=index.name, condition=index.condition)
        super().add_index(
            model, index, field=field, unique=unique, column_prefix=column_prefix, parent_model=parent_model
        )


def _may_be_null(model: type[models.Model], index: models.Index, field: models.Field | None) -> bool:
    fields = [field] if field else [model._meta.get_field(name) for name, _ in index.fields_orders]
    return any(field.null for field in fields)
