"""Django's database engine for MongoDB: django-mongodb-backend with this project's patches.

All patches in this package were checked with version 5.2.4; `core/mongo/tests/test_engine.py` fails
where one is no longer needed or no longer works.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django_mongodb_backend import base, operations
from pymongo.collection import Collection
from pymongo.database import Database

from core.mongo import embedded

from . import lookups
from .schema import DatabaseSchemaEditor

lookups.patch()


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "core.mongo.engine.compiler"


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection. With an empty HOST it starts or joins the embedded server when it is first used."""

    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if not params["host"]:
            params["host"] = embedded.ensure(embedded.data_dir(settings))
        return params

    # Upstream connects without ensure_connection(), by which pytest-django keeps tests without a
    # database fixture from reaching the database.

    def get_collection(self, name: str, **kwargs: Any) -> Collection[dict[str, Any]]:
        self.ensure_connection()
        collection: Collection[dict[str, Any]] = super().get_collection(name, **kwargs)
        return collection

    def get_database(self) -> Database[dict[str, Any]]:
        self.ensure_connection()
        database: Database[dict[str, Any]] = super().get_database()
        return database

    def validate_no_atomic_block(self) -> None:
        """Allow a real transaction to commit inside `django.db.transaction.atomic`, which does nothing here.

        The admin site wraps its forms in that. Upstream raises before it runs the commit hooks, when
        the transaction is already committed.
        """
