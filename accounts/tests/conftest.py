"""People of these tests: alice has an account, bob another; a `Person` talks to the API for one of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from rest_framework.response import Response
from rest_framework.test import APIClient

from accounts.models import User

PASSWORD = "correct horse battery"


class Person:
    """A client of `/api/auth` that keeps the tokens it was given, as a browser would."""

    def __init__(self, email: str, address: str = "192.0.2.10") -> None:
        self.email = email
        self.client = APIClient(REMOTE_ADDR=address)
        self.access = self.refresh = None

    def log_in(self, password: str = PASSWORD) -> Response:
        response = self.post("login", {"email": self.email, "password": password})
        if response.status_code == 200:
            self.access, self.refresh = response.data["access"], response.data["refresh"]
        return response

    def get(self, path: str, **extra) -> Response:
        return self._send("get", path, None, **extra)

    def post(self, path: str, body=None, **extra) -> Response:
        return self._send("post", path, body, **extra)

    def put(self, path: str, body=None, **extra) -> Response:
        return self._send("put", path, body, **extra)

    def patch(self, path: str, body=None, **extra) -> Response:
        return self._send("patch", path, body, **extra)

    def _send(self, method: str, path: str, body, **extra) -> Response:
        if self.access:
            extra = {"HTTP_AUTHORIZATION": f"Bearer {self.access}", **extra}
        return getattr(self.client, method)(f"/api/auth/{path}", body, format="json", **extra)

    def is_signed_in(self) -> bool:
        return self.get("profile").status_code == 200


def at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Run each action in a thread of its own, all released together, and return their results."""
    start = Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        try:
            User.objects.exists()  # Connecting takes longer than the actions: the first would be alone.
            start.wait(timeout=30)
            return action()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@pytest.fixture
def alice(db) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, name="Alice")


@pytest.fixture
def bob(db) -> User:
    return User.objects.create_user("bob@example.com", PASSWORD, name="Bob")


@pytest.fixture
def laptop(alice) -> Person:
    """Alice's laptop, signed in."""
    person = Person(alice.email)
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def phone(alice) -> Person:
    """Alice's phone, signed in too."""
    person = Person(alice.email, address="192.0.2.20")
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def stranger(db) -> Person:
    return Person("nobody@example.com", address="198.51.100.1")


def problem_fields(response: Response) -> dict[str, list[str]]:
    """Return the codes of a 400 by field."""
    assert response.status_code == 400, response.data
    fields: dict[str, list[str]] = {}
    for error in response.data["errors"]:
        fields.setdefault(error["field"], []).append(error["code"])
    return fields
