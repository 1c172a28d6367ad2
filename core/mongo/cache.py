"""Django's cache in MongoDB, shared by all workers, with exact counters.

    CACHES = {"default": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "cache",
                          "OPTIONS": {"w": 1}}}

LOCATION names the collection of the default database; `w` is the write concern, by default the
connection's. An entry is `{_id: key, value, expires_at}`: an integer is stored as such, so that
`incr` is one atomic `$inc`; everything else is stored as JSON text. `migrate` makes the TTL index.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Int64
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection
from pymongo import ReturnDocument, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

#: The date of entries without a timeout: one comparison then serves all.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)

INT64 = range(-(2**63), 2**63)


class KnownAlive:
    """Keys this process has seen alive, and until when (seconds since the epoch). Thread-safe.

    A live key can't vanish before it expires, unless it is deleted. Deletions by this process are
    noted here; one by *another* process is not: until the expiry seen here, `add` then wrongly says
    that the key exists, and the next `incr` finds that out. For counters of requests, which nobody
    deletes, that is a fair price for one round trip instead of two.
    """

    LIMIT = 20_000

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._guard = threading.Lock()

    def __contains__(self, key: str) -> bool:
        return self._until.get(key, 0) > time.time()

    def __len__(self) -> int:
        return len(self._until)

    def note(self, key: str, expires_at: datetime) -> None:
        with self._guard:
            if len(self._until) >= self.LIMIT:
                now = time.time()
                self._until = {key: until for key, until in self._until.items() if until > now}
            if len(self._until) >= self.LIMIT:
                self._until.clear()  # All forgotten costs each key one round trip.
            self._until[key] = expires_at.timestamp()

    def forget(self, keys: Iterable[str]) -> None:
        with self._guard:
            for key in keys:
                self._until.pop(key, None)

    def forget_all(self) -> None:
        with self._guard:
            self._until.clear()


#: By collection and not by cache object, because Django makes one of those in each thread.
_known_alive: dict[str, KnownAlive] = {}


class MongoCache(BaseCache):
    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._location = location
        self._write_concern = (
            WriteConcern(w=params["OPTIONS"]["w"]) if "w" in params.get("OPTIONS", {}) else None
        )
        self._known_alive = _known_alive.setdefault(location, KnownAlive())

    @property
    def _entries(self) -> Collection:
        connection.ensure_connection()
        return connection.database.get_collection(self._location, write_concern=self._write_concern)

    def create_index(self) -> None:
        """Let the server delete expired entries. Until it does, readers ignore them."""
        self._entries.create_index("expires_at", name="cache_ttl", expireAfterSeconds=0)

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        key = self.make_and_validate_key(key, version)
        if key in self._known_alive:
            return False
        entry = self._entry(value, timeout)
        try:
            self._entries.update_one(
                {"_id": key, "expires_at": {"$lte": _now()}}, {"$set": entry}, upsert=True
            )
        except DuplicateKeyError:  # Not expired: the upsert met the entry itself.
            return False
        self._known_alive.note(key, entry["expires_at"])
        return True

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        key = self.make_and_validate_key(key, version)
        entry = self._entries.find_one(_alive(key))
        return _decoded(entry["value"]) if entry else default

    def set(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self.set_many({key: value}, timeout, version)

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version)
        self._known_alive.forget([key])
        expiry = {"expires_at": self._expires_at(timeout)}
        return self._entries.update_one(_alive(key), {"$set": expiry}).matched_count == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version)
        deleted = self._entries.find_one_and_delete({"_id": key}, {"expires_at": 1})
        self._known_alive.forget([key])
        return deleted is not None and _aware(deleted["expires_at"]) > _now()

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Return the sum. Raises ValueError if there is no such key, or no number behind it."""
        made = self.make_and_validate_key(key, version)
        entry = self._entries.find_one_and_update(
            {**_alive(made), "value": {"$type": "number"}},
            {"$inc": {"value": delta}},
            return_document=ReturnDocument.AFTER,
        )
        if entry is None:
            self._known_alive.forget([made])
            raise ValueError(f"Key {key!r} not found, or it holds no number.")
        self._known_alive.note(made, _aware(entry["expires_at"]))
        return _decoded(entry["value"])

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        made = {self.make_and_validate_key(key, version): key for key in keys}
        found = self._entries.find(_alive({"$in": list(made)}))
        return {made[entry["_id"]]: _decoded(entry["value"]) for entry in found}

    def set_many(
        self, data: Mapping[str, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        """Store all; return an empty list (Django's contract: the keys that failed)."""
        entries = {
            self.make_and_validate_key(key, version): self._entry(value, timeout)
            for key, value in data.items()
        }
        if entries:
            self._entries.bulk_write(
                [UpdateOne({"_id": key}, {"$set": entry}, upsert=True) for key, entry in entries.items()],
                ordered=False,
            )
            self._known_alive.forget(entries)
        return []

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        made = [self.make_and_validate_key(key, version) for key in keys]
        self._entries.delete_many({"_id": {"$in": made}})
        self._known_alive.forget(made)

    def clear(self) -> None:
        self._entries.delete_many({})
        self._known_alive.forget_all()

    def _entry(self, value: Any, timeout: float | None) -> dict[str, Any]:
        return {"value": _encoded(value), "expires_at": self._expires_at(timeout)}

    def _expires_at(self, timeout: float | None) -> datetime:
        """Return when an entry set now expires: now or earlier for zero and negative timeouts."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return NEVER if timeout is None else _now() + timedelta(seconds=timeout)


def create_indexes(**signal: Any) -> None:
    """Give every cache of this kind its index; runs after each `migrate` and may run again."""
    for cache in caches.all():
        if isinstance(cache, MongoCache):
            cache.create_index()


def _alive(key: str | dict[str, Any]) -> dict[str, Any]:
    return {"_id": key, "expires_at": {"$gt": _now()}}


def _now() -> datetime:
    return datetime.now(UTC)


def _aware(stored: datetime) -> datetime:
    return stored.replace(tzinfo=UTC)


def _encoded(value: Any) -> Int64 | str:
    if isinstance(value, int) and not isinstance(value, bool) and value in INT64:
        return Int64(value)
    return json.dumps(value)


def _decoded(stored: Any) -> Any:
    if isinstance(stored, str):
        return json.loads(stored)
    return int(stored) if isinstance(stored, Int64) else stored
