"""Kept answers to Idempotency-Keys: bounded, apart from the counters, and exact when they are not kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.db import DatabaseError, connection

from qa.testing.tenants import problem, signed_in
from tenants.models import Tenant

KEY = {"HTTP_IDEMPOTENCY_KEY": "5f0c2a9e-6a0b-4e3d-9d5c-1b2a3c4d5e6f"}


def create(user, name: str = "Shop", **headers: str):
    return signed_in(user).post("/api/tenants", {"name": name}, **{**KEY, **headers})


def kept() -> list[dict]:
    return list(connection.database["kept_answers"].find())


@pytest.fixture(autouse=True)
def connected(db) -> None:
    connection.ensure_connection()


@pytest.fixture
def refusing_store() -> Iterator[None]:
    """Let the store of kept answers refuse every write, as a full or read-only one does."""
    create_collection = {"create": "kept_answers"}
    if "kept_answers" not in connection.database.list_collection_names():
        connection.database.command(create_collection)
    connection.database.command("collMod", "kept_answers", validator={"$expr": False})
    yield
    connection.database.command("collMod", "kept_answers", validator={})


def test_an_answer_is_kept_apart_from_the_counters(alice):
    first = create(alice)
    again = create(alice)

    assert (again.json(), again["Idempotent-Replayed"]) == (first.json(), "true")
    assert len(kept()) == 3  # the answer, what it created, and the bytes of its caller
    assert not [entry for entry in connection.database["cache"].find() if "idempotency" in entry["_id"]]


def test_an_answer_that_is_too_large_is_not_kept_and_its_key_stays_exact(alice, settings):
    settings.IDEMPOTENCY_ANSWER_BYTES = 100
    created = create(alice)
    assert created.status_code == 201

    again = create(alice)

    assert problem(again, 409) == "idempotent_answer_not_kept"
    assert again.json()["location"] == created["Location"]
    assert signed_in(alice).get(again.json()["location"]).status_code == 200
    assert problem(create(alice, "Other"), 422) == "idempotency_key_reused"
    assert Tenant.objects.count() == 1
    assert all(len(str(entry)) < 300 for entry in kept())


def test_what_is_kept_for_a_caller_in_a_day_is_bounded(alice, bob, settings):
    create(alice)
    size = max(len(entry["value"]) for entry in kept() if isinstance(entry["value"], str))
    settings.IDEMPOTENCY_CALLER_BYTES = size * 3 // 2
    for number in range(2):
        create(bob, HTTP_IDEMPOTENCY_KEY=f"key-{number}")
    first, later = (create(bob, HTTP_IDEMPOTENCY_KEY=f"key-{number}") for number in range(2))

    assert first["Idempotent-Replayed"] == "true"
    assert problem(later, 409) == "idempotent_answer_not_kept"
    assert create(alice)["Idempotent-Replayed"] == "true"
    assert Tenant.objects.count() == 3


def test_a_store_that_refuses_writes_fails_only_what_needs_it(alice, refusing_store, client):
    refused = create(alice)
    assert problem(refused, 503) == "idempotency_unavailable"
    assert refused["Retry-After"]
    assert Tenant.objects.count() == 0

    without = signed_in(alice).post("/api/tenants", {"name": "Shop"})
    assert without.status_code == 201
    assert without["RateLimit"]
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["stores"]["answers"]) == (200, "unavailable")
    assert ready.json()["stores"]["counters"] == "ok"


def test_a_store_that_fails_after_the_work_does_not_hide_the_answer(alice, monkeypatch):
    def fail(*args: object) -> None:
        raise DatabaseError("full")

    monkeypatch.setattr(type(caches["answers"]), "set_many", fail)

    assert create(alice).status_code == 201


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "full"),
        ("READONLY You can't write against a read only replica.", "read-only"),
        ("Connection refused", "unavailable"),
    ],
)
def test_ready_names_the_state_of_a_cache(client, monkeypatch, error, state):
    def refuse(*args: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(type(caches["default"]), "set", refuse)

    ready = client.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["stores"]["counters"] == state
    assert ready.json()["checks"] == {"database": True, "cache": False}
