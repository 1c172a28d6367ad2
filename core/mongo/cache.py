"""Django's cache in MongoDB, shared by all workers, with exact counters.

    CACHES = {
        "default": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "cache", "OPTIONS": {"w": 1}},
        "rates": {"BACKEND": "core.mongo.cache.RateLimitCache", "LOCATION": "cache"},
    }

LOCATION names the collection of the default database; `w` is the write concern, by default the
connection's. An entry is `{_id: key, value, expires_at}`: an integer is stored as such, so that
`incr` is one atomic `$inc`; everything else is stored as JSON text. `migrate` creates the TTL index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from bson import Int64
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils import timezone
from pymongo import ReturnDocument, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from core.mongo.database import database

#: The date of entries without a timeout: one comparison then serves all.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)

INT64 = range(-(2**63), 2**63)


class MongoCache(BaseCache):
    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._location = location
        self._write_concern = (
            WriteConcern(w=params["OPTIONS"]["w"]) if "w" in params.get("OPTIONS", {}) else None
        )

    @property
    def _entries(self) -> Collection[dict[str, Any]]:
        return database().get_collection(self._location, write_concern=self._write_concern)

    def create_index(self) -> None:
        """Let the server delete expired entries. Until it does, readers ignore them."""
        self._entries.create_index("expires_at", name="cache_ttl", expireAfterSeconds=0)

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        key = self.make_and_validate_key(key, version)
        expired = {"_id": key, "expires_at": {"$lte": timezone.now()}}
        try:
            self._entries.update_one(expired, {"$set": self._entry(value, timeout)}, upsert=True)
        except DuplicateKeyError:  # The entry exists and has not expired.
            return False
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
        expiry = {"expires_at": self._expires_at(timeout)}
        return self._entries.update_one(_alive(key), {"$set": expiry}).matched_count == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version)
        return self._entries.delete_one(_alive(key)).deleted_count == 1

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Return the sum. Raises ValueError if the key does not exist, or holds no number."""
        entry = self._entries.find_one_and_update(
            {**_alive(self.make_and_validate_key(key, version)), "value": {"$type": "number"}},
            {"$inc": {"value": delta}},
            return_document=ReturnDocument.AFTER,
        )
        if entry is None:
            raise ValueError(f"Key {key!r} not found, or it holds no number.")
        return int(entry["value"])

    def count(self, key: str, amount: int, timeout: float) -> int:
        """Add to a counter, from 0 if it does not exist or has expired, and return it, in one round trip."""
        is_alive = {"$gt": ["$expires_at", timezone.now()]}
        update = {
            "value": {"$cond": [is_alive, {"$add": ["$value", Int64(amount)]}, Int64(amount)]},
            "expires_at": {"$cond": [is_alive, "$expires_at", self._expires_at(timeout)]},
        }
        entry: Any = self._entries.find_one_and_update(
            {"_id": self.make_and_validate_key(key)},
            [{"$set": update}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return int(entry["value"])

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        found = self._entries.find(_alive({"$in": list(names)}))
        return {names[entry["_id"]]: _decoded(entry["value"]) for entry in found}

    def set_many(
        self, data: Mapping[str, Any], timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        """Store all; return an empty list (Django's contract: the keys that failed)."""
        writes = [
            UpdateOne(
                {"_id": self.make_and_validate_key(key, version)},
                {"$set": self._entry(value, timeout)},
                upsert=True,
            )
            for key, value in data.items()
        ]
        if writes:
            self._entries.bulk_write(writes, ordered=False)
        return []

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        names = [self.make_and_validate_key(key, version) for key in keys]
        self._entries.delete_many({"_id": {"$in": names}})

    def clear(self) -> None:
        self._entries.delete_many({})

    def _entry(self, value: Any, timeout: float | None) -> dict[str, Any]:
        return {"value": _encoded(value), "expires_at": self._expires_at(timeout)}

    def _expires_at(self, timeout: float | None) -> datetime:
        """Return when an entry set now expires: now or earlier for zero and negative timeouts."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return NEVER if timeout is None else timezone.now() + timedelta(seconds=timeout)


class RateLimitCache(MongoCache):
    """The cache of django-ratelimit: a request is counted in one round trip instead of two.

    django-ratelimit calls `add(key, 1, timeout)` and, if the key exists, `incr(key)`. Here `add`
    increments an existing counter, atomically, and the `incr` that follows returns that count.
    Not for other uses. Django creates one cache object per thread, so the count is this thread's.
    """

    _counted: tuple[str, int] | None = None

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        if value != 1:
            raise ValueError("RateLimitCache only counts from 1.")
        count = self.count(key, 1, cast(float, timeout))
        self._counted = (key, count)
        return count == 1

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        counted, self._counted = self._counted, None
        if counted is None or counted[0] != key or delta != 1:
            raise ValueError("RateLimitCache.incr() follows an add() of the same key.")
        return counted[1]


def create_indexes(**signal: Any) -> None:
    """Create the index of every cache of this kind; runs after each `migrate` and may run again."""
    for cache in caches.all():
        if isinstance(cache, MongoCache):
            cache.create_index()


def _alive(key: str | dict[str, Any]) -> dict[str, Any]:
    return {"_id": key, "expires_at": {"$gt": timezone.now()}}


def _encoded(value: Any) -> Int64 | str:
    if isinstance(value, int) and not isinstance(value, bool) and value in INT64:
        return Int64(value)
    return json.dumps(value)


def _decoded(stored: Any) -> Any:
    if isinstance(stored, str):
        return json.loads(stored)
    return int(stored) if isinstance(stored, Int64) else stored
