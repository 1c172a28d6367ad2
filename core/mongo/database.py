"""The default database as pymongo sees it."""

from __future__ import annotations

from typing import Any

from django.db import connection
from pymongo.database import Database


def database() -> Database[dict[str, Any]]:
    """Return the default database; connects first where this thread has not."""
    connection.ensure_connection()
    wrapper: Any = connection  # Django's type does not know what the engine adds.
    connected: Database[dict[str, Any]] = wrapper.database
    return connected
