"""Which database errors are temporary, and which mean that a transaction conflicts with another one."""

from __future__ import annotations

from django.db import DatabaseError, OperationalError
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

#: Temporary errors of a server: unreachable host, host not found, network timeout, no majority to read
#: from, time exceeded, socket error. ("Retryable" in MongoDB's retryable writes specification; the
#: others of that list are raised as ConnectionFailure.)
_TEMPORARY_CODES = frozenset({6, 7, 89, 134, 262, 9001})


#: Errors of a server that stores nothing: no space left on the device, and an Atlas cluster's quota.
_FULL_CODES = frozenset({14031, 8000})


def is_full(error: BaseException) -> bool:
    """Return whether the database has no space for what is to be stored."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OperationFailure) and seen.code in _FULL_CODES:
            return True
        seen = seen.__cause__
    return False


def is_unreachable(error: BaseException) -> bool:
    """Return whether the database can't be reached now, so that a retry may succeed (503).

    django-mongodb-backend raises a plain DatabaseError with the reason as its cause; cursors and raw
    calls raise pymongo's own errors. ConnectionFailure is the parent of no server found, timeouts,
    a lost or refused connection, an exhausted pool, and a server that is no longer primary.
    OperationalError is raised only by an embedded server that did not start. A write that no majority
    has confirmed is done, but may be rolled back: the client has to retry it.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ConnectionFailure | OperationalError | WriteConcernError):
            return True
        if isinstance(seen, OperationFailure) and (seen.code in _TEMPORARY_CODES or _is_unconfirmed(seen)):
            return True
        seen = seen.__cause__
    return False


def is_transient(error: BaseException) -> bool:
    """Return whether the database has aborted a transaction that may succeed if it is repeated."""
    cause = error.__cause__ if isinstance(error, DatabaseError) else error
    return isinstance(cause, PyMongoError) and cause.has_error_label("TransientTransactionError")


def _is_unconfirmed(error: OperationFailure) -> bool:
    return isinstance(error, BulkWriteError) and bool(error.details["writeConcernErrors"])
