"""Alice and bob have accounts with a password; a `AuthClient` calls the API for one of them."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from qa.testing.accounts import PASSWORD, AuthClient


@pytest.fixture
def real_hasher(settings: Any) -> None:
    """Hash passwords as the product does."""
    settings.PASSWORD_HASHERS = ["accounts.passwords.Argon2Hasher"]


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, name="Alice")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob@example.com", PASSWORD, name="Bob")


@pytest.fixture
def laptop(alice: User) -> AuthClient:
    """Alice's laptop, signed in."""
    person = AuthClient(alice.email)
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def phone(alice: User) -> AuthClient:
    """Alice's phone, signed in too."""
    person = AuthClient(alice.email, address="192.0.2.20")
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def stranger(db: None) -> AuthClient:
    return AuthClient("stranger@example.com", address="198.51.100.1")
