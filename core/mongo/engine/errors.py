"""What database errors mean for a client."""

from __future__ import annotations

from django.db import OperationalError
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, WriteConcernError

#: With these a server says that it can't now: unreachable host, no such host, network timeout, no majority
#: to read from, time exceeded, broken socket. ("Retryable" in MongoDB's retryable writes specification;
#: the rest of that list comes as ConnectionFailure.)
_PASSING_CODES = frozenset({6, 7, 89, 134, 262, 9001})


def is_unreachable(error: BaseException) -> bool:
    """Return whether the database can't be reached now, so that trying later may help (503).

    django-mongodb-backend raises a plain DatabaseError whose cause tells; pymongo's own errors come
    through from cursors and raw calls. ConnectionFailure is the parent of no server found, timeouts,
    a lost or refused connection, an exhausted pool, and a server that is no longer primary.
    OperationalError comes only from an embedded server that did not start. A write that no majority
    has confirmed is done, and may be undone: whoever asked for it has to ask again.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionFailure | OperationalError | WriteConcernError):
            return True
        if isinstance(seen, OperationFailure) and (seen.code in _PASSING_CODES or _is_unconfirmed(seen)):
            return True
        seen = seen.__cause__
    return False


def _is_unconfirmed(error: OperationFailure) -> bool:
    return isinstance(error, BulkWriteError) and bool(error.details["writeConcernErrors"])
