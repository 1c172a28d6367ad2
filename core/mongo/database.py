"""The default database as pymongo sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import connection
from pymongo.collection import Collection
from pymongo.database import Database

if TYPE_CHECKING:  # Django imports the engine when it first connects.
    from core.mongo.engine.base import DatabaseWrapper


def database() -> Database[dict[str, Any]]:
    """Return the default database; connects first where this thread has not."""
    wrapper = _wrapper()
    wrapper.ensure_connection()
    connected: Database[dict[str, Any]] = wrapper.database
    return connected


def collection(name: str) -> Collection[dict[str, Any]]:
    return _wrapper().get_collection(name)


def close() -> None:
    """Close all connections of this process; the next use opens new ones."""
    _wrapper().close_pool()


def _wrapper() -> DatabaseWrapper:
    return cast("DatabaseWrapper", connection)
