"""Django's connection to MongoDB: django-mongodb-backend with this project's mends."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django_mongodb_backend import base, operations
from pymongo.collection import Collection
from pymongo.database import Database

from core.mongo import embedded

from . import lookups
from .schema import DatabaseSchemaEditor

lookups.mend()


class DatabaseOperations(operations.DatabaseOperations):
    compiler_module = "core.mongo.engine.compiler"


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection. With an empty HOST it starts the embedded server, or joins it, when first used."""

    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        if not params["host"]:
            params["host"] = embedded.ensure(embedded.data_dir(settings))
        return params

    # Upstream connects behind the back of ensure_connection(), which is where pytest-django keeps
    # tests that did not ask for the database from reaching it.

    def get_collection(self, name: str, **kwargs: Any) -> Collection:
        self.ensure_connection()
        return super().get_collection(name, **kwargs)

    def get_database(self) -> Database:
        self.ensure_connection()
        return super().get_database()

    def validate_no_atomic_block(self) -> None:
        """Let a real transaction commit inside `django.db.transaction.atomic`, which is none here.

        The admin wraps its forms in that. Upstream refuses to run the commit hooks there, after the
        transaction is committed already.
        """
