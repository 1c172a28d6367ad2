"""Whether the database server is one that the product can use, and if not, what its operator has to do."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError, ServerSelectionTimeoutError

from core.mongo.database import database

_INITIATE = "mongosh \"$MONGODB_URI\" --eval 'rs.initiate()'"

NO_ANSWER = "The database does not answer. Check MONGODB_URI, and that MongoDB runs."

#: Of MongoDB: authentication failed, not authorized.
_ACCESS_CODES = {8000, 18, 13}


@dataclass(frozen=True, slots=True)
class Problem:
    """`sentence` says what to do, and is for everyone; `detail` may name servers."""

    sentence: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.sentence} ({self.detail})" if self.detail else self.sentence


def database_problem() -> Problem | None:
    """Return why the database cannot be used, None if it can. Takes one round trip."""
    try:
        hello = database().command("hello")
    except (PyMongoError, DatabaseError, ImproperlyConfigured) as error:
        return _problem_of(error)
    is_router = hello.get("msg") == "isdbgrid"  # of a sharded cluster
    if "setName" in hello or is_router:
        return None
    return Problem(
        "MongoDB runs as a single server, without the transactions that this product needs. Make it a "
        f"replica set: start mongod with --replSet rs0, then run once: {_INITIATE}"
    )


def _problem_of(error: Exception) -> Problem:
    if isinstance(error.__cause__, PyMongoError):
        error = error.__cause__
    if isinstance(error, DatabaseError | ImproperlyConfigured):
        return Problem(str(error))  # of the embedded server, or of the settings
    if isinstance(error, OperationFailure) and error.code in _ACCESS_CODES:
        return Problem("MongoDB refuses the user or the password in MONGODB_URI.")
    if isinstance(error, ServerSelectionTimeoutError):
        return _unselectable()
    if isinstance(error, ConfigurationError):  # InvalidURI is one; its messages repeat no password
        return Problem("MONGODB_URI can't be used.", str(error))
    return Problem(NO_ANSWER, str(error)[:200])


def _unselectable() -> Problem:
    """Return why none of the servers that the client knows can be used."""
    servers = connection.connection.topology_description.server_descriptions().values()
    if any(server.server_type_name == "RSGhost" for server in servers):
        return Problem(f"The replica set of MongoDB has no configuration yet. Run once: {_INITIATE}")
    if any(server.server_type_name == "RSSecondary" for server in servers):
        return Problem("The replica set of MongoDB has no primary now. Check its members: rs.status()")
    failures = (f"{server.address[0]}:{server.address[1]}: {_reason(server.error)}" for server in servers)
    return Problem(NO_ANSWER, "; ".join(failures)[:200])


def _reason(error: Exception | None) -> str:
    """Return the text of a connection's error without the time limits that pymongo appends."""
    text = str(error or "unknown").partition(" (configured timeouts")[0]
    return text.rpartition(": ")[2]
