from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from pymongo.errors import PyMongoError

from core.mongo.cache import MongoCache, RateLimitCache

pytestmark = pytest.mark.django_db

BASE_DIR = Path(__file__).resolve().parents[3]


@pytest.fixture
def cache() -> MongoCache:
    return MongoCache("cache", {})


def later(**time: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**time), tick=True)


@pytest.mark.parametrize(
    "value",
    [
        0,
        7,
        -(2**63),
        2**63,
        10**30,
        True,
        False,
        None,
        1.5,
        "",
        "7",
        "naïve ✓",
        [],
        [1, "a", None],
        {"$a.b": 1},
    ],
)
def test_json_values_are_returned_unchanged(cache, value):
    cache.set("key", value)
    assert cache.get("key", "default") == value
    assert type(cache.get("key", "default")) is type(value)


def test_a_value_that_is_not_json_is_a_type_error(cache):
    with pytest.raises(TypeError):
        cache.set("key", object())


def test_a_missing_key_returns_the_default(cache):
    assert cache.get("key") is None
    assert cache.get("key", "default") == "default"
    assert "key" not in cache


def test_a_stored_none_exists(cache):
    cache.set("key", None)
    assert "key" in cache
    assert not cache.add("key", 1)


@pytest.mark.parametrize("timeout", [0, -1])
def test_an_entry_with_a_past_timeout_does_not_exist(cache, timeout):
    cache.set("key", 1)
    cache.set("key", 2, timeout=timeout)
    assert_unseen(cache)


def test_an_expired_entry_does_not_exist_though_it_is_still_stored(cache):
    cache.set("key", 1, timeout=60)
    with later(seconds=61):
        assert connection.database["cache"].count_documents({}) == 1
        assert_unseen(cache)


def assert_unseen(cache: MongoCache) -> None:
    assert cache.get("key") is None
    assert cache.get_many(["key"]) == {}
    assert not cache.has_key("key")
    assert not cache.touch("key")
    with pytest.raises(ValueError):
        cache.incr("key")
    assert not cache.delete("key")
    assert cache.add("key", 3)


def test_an_entry_without_a_timeout_does_not_expire(cache):
    cache.set("set", 1, timeout=None)
    cache.add("added", 1, timeout=None)
    with later(days=3650):
        assert cache.get_many(["set", "added"]) == {"set": 1, "added": 1}


def test_the_default_timeout_comes_from_the_settings():
    cache = MongoCache("cache", {"TIMEOUT": 10})
    cache.set("key", 1)
    with later(seconds=9):
        assert cache.get("key") == 1
    with later(seconds=11):
        assert cache.get("key") is None


def test_touch_extends_the_expiry(cache):
    cache.set("key", 1, timeout=10)
    assert cache.touch("key", timeout=100)
    with later(seconds=50):
        assert cache.get("key") == 1


def test_add_keeps_an_existing_entry(cache):
    assert cache.add("key", 1)
    assert not cache.add("key", 2)
    assert cache.get("key") == 1


def test_one_of_many_concurrent_adds_succeeds(cache):
    start = threading.Barrier(16)

    def add(number: int) -> bool:
        start.wait()
        return MongoCache("cache", {}).add("key", number)

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(add, range(16)))
    assert sum(outcomes) == 1
    assert cache.get("key") == outcomes.index(True)


def test_incr_and_decr_return_the_sum(cache):
    cache.set("key", 5)
    assert cache.incr("key") == 6
    assert cache.incr("key", 10) == 16
    assert cache.decr("key", 20) == -4
    assert cache.get("key") == -4


def test_incr_keeps_the_expiry(cache):
    cache.set("key", 1, timeout=10)
    cache.incr("key")
    with later(seconds=11):
        assert cache.get("key") is None


def test_incr_of_a_missing_key_or_a_text_is_a_value_error(cache):
    cache.set("text", "7")
    for key in ("missing", "text"):
        with pytest.raises(ValueError):
            cache.incr(key)


def test_many_are_set_read_and_deleted_together(cache):
    assert cache.set_many({"a": 1, "b": "two", "c": [3]}) == []
    assert cache.get_many(["a", "b", "missing"]) == {"a": 1, "b": "two"}
    cache.delete_many(["a", "b"])
    assert cache.get_many(["a", "b", "c"]) == {"c": [3]}
    assert cache.set_many({}) == []


def test_versions_and_prefixes_are_separate(cache):
    other = MongoCache("cache", {"KEY_PREFIX": "other"})
    cache.set("key", 1)
    cache.set("key", 2, version=2)
    other.set("key", 3)
    assert (cache.get("key"), cache.get("key", version=2), other.get("key")) == (1, 2, 3)


def test_clear_removes_everything(cache):
    cache.set("key", 1, timeout=None)
    cache.clear()
    assert connection.database["cache"].count_documents({}) == 0


@pytest.mark.parametrize(
    "end",
    [
        lambda cache: cache.delete("key"),
        lambda cache: cache.delete_many(["key"]),
        lambda cache: cache.clear(),
        lambda cache: cache.set("key", 1, timeout=0),
        lambda cache: cache.set_many({"key": 1}, timeout=0),
        lambda cache: cache.touch("key", timeout=0),
    ],
)
def test_a_key_that_has_ended_can_be_added_again(cache, end):
    cache.add("key", 1)
    end(cache)
    assert cache.add("key", 2)
    assert cache.get("key") == 2


def test_a_key_can_be_added_after_its_expiry(cache):
    cache.add("key", 1, timeout=10)
    with later(seconds=11):
        assert cache.add("key", 2)


def test_the_write_concern_of_the_settings_is_used():
    cache = MongoCache("cache", {"OPTIONS": {"w": 7}})
    with pytest.raises(PyMongoError, match="data-bearing nodes"):  # The tests have one node.
        cache.set("key", 1)


def test_migrate_creates_the_ttl_index():
    indexes: dict[str, Any] = connection.database["cache"].index_information()
    assert indexes["cache_ttl"]["expireAfterSeconds"] == 0


def counted(cache: RateLimitCache, key: str = "key", timeout: int = 60) -> int:
    """Count as django-ratelimit does."""
    return 1 if cache.add(key, 1, timeout) else cache.incr(key)


def test_requests_are_counted_in_one_round_trip(commands):
    cache = RateLimitCache("cache", {})
    assert counted(cache) == 1
    with commands.recording() as recording:
        assert counted(cache) == 2
    assert len(recording.of_this_thread()) == 1


def test_counters_are_separate_and_expire(cache):
    rates = RateLimitCache("cache", {})
    assert [counted(rates, key) for key in "aab"] == [1, 2, 1]
    with later(seconds=50):
        assert counted(rates, "a") == 3  # Counting does not extend the period.
    with later(seconds=61):
        assert counted(rates, "a") == 1
        assert cache.get("a") == 1


def test_a_deleted_counter_starts_again(cache):
    rates = RateLimitCache("cache", {})
    counted(rates)
    cache.delete("key")
    assert counted(rates) == 1


def test_incr_only_follows_an_add_of_the_same_key():
    cache = RateLimitCache("cache", {})
    counted(cache)
    cache.add("key", 1)
    with pytest.raises(ValueError, match="follows an add"):
        cache.incr("other")
    with pytest.raises(ValueError, match="from 1"):
        cache.add("key", 5)


COUNTING = """
import json, threading
import django
django.setup()
from django.test import RequestFactory
from django_ratelimit.core import get_usage

counts = []

def count():
    for _ in range(100):
        usage = get_usage(
            RequestFactory().get("/"), group="exact", key=lambda *_: "me", rate="9999/h", increment=True
        )
        counts.append(usage["count"])

threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_request_counts_are_exact_over_processes_and_threads(mongodb_uri):
    environment = {**os.environ, "MONGODB_URI": mongodb_uri}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTING], cwd=BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    counts = [count for process in processes for count in json.loads(process.communicate(timeout=60)[0])]
    assert sorted(counts) == list(range(1, 801))
