"""Logins and failed logins in the audit trail."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from core.audit.models import AuditEvent

PASSWORD = "a long passphrase"


@pytest.fixture
def ada(db) -> User:
    return User.objects.create_superuser("ada@example.com", PASSWORD)


def trail() -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.exclude(action="user.created").order_by("created_at", "id")
    return [(row.action, row.actor_name, row.address) for row in rows]


def log_in(client: Client, email: str, password: str) -> int:
    body = {"email": email, "password": password}
    return client.post("/api/auth/login", body, "application/json", REMOTE_ADDR="192.0.2.7").status_code


def test_logins_at_the_api_are_recorded(client, ada):
    assert log_in(client, "Ada@example.com", PASSWORD) == 200
    assert log_in(client, "ada@example.com", "wrong") == 401
    assert log_in(client, "unknown@example.com", "wrong") == 401
    assert trail() == [
        ("user.logged_in", "ada@example.com", "192.0.2.7"),
        ("user.login_failed", "ada@example.com", "192.0.2.7"),
        ("user.login_failed", "unknown@example.com", "192.0.2.7"),
    ]
    ada.refresh_from_db()
    assert ada.last_login is not None


def test_logins_at_the_admin_are_recorded(client, ada):
    form = {"username": "ada@example.com", "password": PASSWORD}
    assert client.post("/admin/login/?next=/admin/", form).status_code == 302
    client.post("/admin/logout/")
    client.post("/admin/login/", {**form, "password": "wrong"})
    assert [action for action, _, _ in trail()] == ["user.logged_in", "user.logged_out", "user.login_failed"]


def test_no_password_is_recorded(client, ada):
    log_in(client, "ada@example.com", "hunter2hunter2")
    assert "hunter2" not in str(list(AuditEvent.collection().find()))
