"""A patch of django-mongodb-backend's schema editor (checked with 5.2.4): queries use unique indexes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bson import ObjectId
from django.db import models
from django_mongodb_backend import schema
from django_mongodb_backend.indexes import get_pymongo_index_model
from pymongo import IndexModel

from core.mongo.indexes import column_field

#: The smallest value of each database type. Comparisons stay within the type, so null is not above it.
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
    """A unique index in which nulls may repeat, and which queries use.

    Upstream limits every unique index to documents whose value has the field's type (`$type`), so
    that nulls may repeat. The query planner does not recognize that `get(email="a")` is within that
    limit, and scans the collection. Here the index of a field that can't be null has no limit, and
    that of a nullable one is limited to values from the lowest of its type on, which the planner
    does recognize.
    """

    def get_pymongo_index_model(
        self,
        model: type[models.Model],
        schema_editor: DatabaseSchemaEditor,
        field: models.Field[Any, Any] | None = None,
        **kwargs: Any,
    ) -> IndexModel:
        kwargs["unique"] = False  # Without upstream's limit; the result is unique all the same.
        document = get_pymongo_index_model(self, model, schema_editor, field=field, **kwargs).document
        limits = document.pop("partialFilterExpression", {})
        fields = [field] if field else [column_field(model, name) for name, _ in self.fields_orders]
        for indexed in fields:
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
        field: models.Field[Any, Any] | None = None,
        unique: bool = False,
        column_prefix: str = "",
        parent_model: type[models.Model] | None = None,
    ) -> None:
        if unique and not column_prefix:  # Fields of embedded documents keep upstream's index.
            index = UniqueIndex(fields=index.fields, name=index.name, condition=index.condition)
        super().add_index(
            model, index, field=field, unique=unique, column_prefix=column_prefix, parent_model=parent_model
        )


def _not_null(db_type: Any) -> dict[str, Any]:
    return {"$gte": LOWEST[db_type]} if db_type in LOWEST else {"$type": db_type}
