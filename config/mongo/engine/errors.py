"""What database errors mean for a client."""

from __future__ import annotations

from django.db import OperationalError
from pymongo.errors import ConnectionFailure


def is_unreachable(error: BaseException) -> bool:
    """Return whether the database can't be reached now, so that trying later may help (503).

    django-mongodb-backend raises a plain DatabaseError whose cause tells; pymongo's own errors come
    through from cursors and raw calls. ConnectionFailure is the parent of no server found, timeouts,
    a lost or refused connection, an exhausted pool, and a server that is no longer primary.
    OperationalError comes only from an embedded server that did not start.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionFailure | OperationalError):
            return True
        seen = seen.__cause__
    return False
