"""The schema editor whose unique indexes are also used to find documents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bson import ObjectId
from django.db import models
from django_mongodb_backend import schema
from pymongo import IndexModel

#: The smallest value of a type of the database. Comparisons stay within the type, so null is not above it.
LOWEST: dict[str, Any] = {
    "date": datetime.min,
    "decimal": float("-inf"),
    "double": float("-inf"),
    "int": float("-inf"),
    "long": float("-inf"),
    "objectId": ObjectId("0" * 24),
    "string": "",
}


class UniqueIndex(models.Index):
    """A unique index in which nulls may repeat, and which is used to find documents.

    Upstream limits every unique index to documents whose value has the field's type (`$type`), so
    that nulls may repeat. The planner does not see that `get(email="a")` stays within that limit,
    and scans the collection. Here a field that can't be null is not limited at all, and one that can
    is limited to values from the lowest of its type on, which the planner does understand.
    """

    def get_pymongo_index_model(
        self,
        model: type[models.Model],
        schema_editor: DatabaseSchemaEditor,
        field: models.Field | None = None,
        **kwargs: Any,
    ) -> IndexModel:
        kwargs["unique"] = False  # Without upstream's limit.
        document = super().get_pymongo_index_model(model, schema_editor, field=field, **kwargs).document
        limits = document.pop("partialFilterExpression", {})
        for indexed in [field] if field else [model._meta.get_field(name) for name, _ in self.fields_orders]:
            if indexed.null:
                limits.setdefault(indexed.column, _not_null(indexed.db_type(schema_editor.connection)))
        if limits:
            document["partialFilterExpression"] = limits
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
        if unique and not column_prefix:  # Fields of embedded documents keep upstream's index.
            index = UniqueIndex(fields=index.fields, name=index.name, condition=index.condition)
        super().add_index(
            model, index, field=field, unique=unique, column_prefix=column_prefix, parent_model=parent_model
        )


def _not_null(db_type: str) -> dict[str, Any]:
    return {"$gte": LOWEST[db_type]} if db_type in LOWEST else {"$type": db_type}
