"""The state of each store: whether it can be written now, and if not, why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

from django.conf import settings
from django.core.cache import caches
from pymongo.errors import NotPrimaryError, OperationFailure

from core.mongo import deployment
from core.mongo.database import database
from core.mongo.deployment import NO_ANSWER, Problem
from core.mongo.engine.errors import is_full

#: A state is at most this old. Each check writes, and anyone may ask.
FRESH_SECONDS = 1.0

#: Of MongoDB: not authorized, not a primary (several causes), read-only.
_READ_ONLY_CODES = {13, 10107, 13435, 10058, 189, 11602, 91}


class State(StrEnum):
    OK = "ok"
    FULL = "full"
    READ_ONLY = "read-only"
    UNSUITABLE = "unsuitable"
    UNAVAILABLE = "unavailable"


def _write_to_database() -> None:
    database().get_collection("probe").update_one({"_id": 1}, {"$inc": {"writes": 1}}, upsert=True)


def _write_to_cache(alias: str) -> Callable[[], None]:
    return lambda: caches[alias].set("store-probe", 1, 60)


#: What every request needs, and what only some do: answers to Idempotency-Keys, sessions in the console.
_PROBES: dict[str, tuple[str, Callable[[], None]]] = {
    "database": ("", _write_to_database),
    "counters": ("default", _write_to_cache("default")),
    "answers": ("answers", _write_to_cache("answers")),
    "sessions": ("sessions", _write_to_cache("sessions")),
}

_SENTENCES = {
    ("database", State.FULL): "The database is full. Give it more space.",
    ("database", State.READ_ONLY): "The database takes no writes. See its log and rs.status().",
    (
        "database",
        State.UNAVAILABLE,
    ): NO_ANSWER,
    ("counters", State.FULL): "The shared cache is full. Give it more memory (maxmemory).",
    ("counters", State.READ_ONLY): "The shared cache takes no writes. REDIS_URL names a replica.",
    (
        "counters",
        State.UNAVAILABLE,
    ): "The shared cache does not answer. Check REDIS_URL.",
}

_lock = threading.Lock()
_states: dict[str, State] = {}
_problem: Problem | None = None
_checked_at = 0.0


def states() -> dict[str, State]:
    """Return the state of every store, checked within the last second."""
    _check()
    with _lock:
        return dict(_states)


def problems() -> list[str]:
    """Return a sentence for what the operator has to do, about what all requests need; [] if nothing."""
    found = states()
    with _lock:
        problem = _problem
    if problem:
        return [problem.sentence]
    return [sentence for name, state in found.items() if (sentence := _SENTENCES.get((name, state)))]


def _check() -> None:
    global _checked_at, _problem
    with _lock:
        if time.monotonic() - _checked_at < FRESH_SECONDS:
            return
        _problem = deployment.database_problem()
        _states.clear()
        _states.update(
            {
                name: _state(write)
                for name, (alias, write) in _PROBES.items()
                if not alias or alias in settings.CACHES
            }
        )
        if _problem and _states["database"] == State.OK:
            _states["database"] = State.UNSUITABLE
        _checked_at = time.monotonic()


def forget() -> None:
    """Have the next call check every store."""
    global _checked_at
    with _lock:
        _checked_at = 0.0


def _state(write: Callable[[], None]) -> State:
    try:
        write()
    except Exception as error:  # Each kind of store has errors of its own; all mean that it can't be used.
        return _reason(error)
    return State.OK


def _reason(error: BaseException) -> State:
    cause: BaseException | None = error
    while cause is not None:
        code = cause.code if isinstance(cause, OperationFailure) else None
        text = str(cause)
        if is_full(cause) or text.startswith(("OOM ", "MISCONF ")):  # Redis' words
            return State.FULL
        if isinstance(cause, NotPrimaryError) or code in _READ_ONLY_CODES or text.startswith("READONLY "):
            return State.READ_ONLY
        cause = cause.__cause__
    return State.UNAVAILABLE
