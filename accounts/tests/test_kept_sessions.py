"""How many sessions and tokens of a user are kept."""

from __future__ import annotations

import pytest
from rest_framework_simplejwt.exceptions import TokenError

from accounts import models
from accounts.models import RefreshToken, User
from core.audit.models import NO_SOURCE


@pytest.fixture
def user(db) -> User:
    return User.objects.create_user("ada@example.com")


def test_a_further_login_ends_the_session_used_least_recently(user, monkeypatch):
    monkeypatch.setattr(models, "MAX_SESSIONS", 2)
    first, second = (RefreshToken.objects.issue(user, NO_SOURCE) for _ in range(2))
    renewed = RefreshToken.objects.rotate(first.refresh, NO_SOURCE)

    third = RefreshToken.objects.issue(user, NO_SOURCE)

    assert set(user.refresh_tokens.live().values_list("family", flat=True)) == {
        renewed.session,
        third.session,
    }
    user.refresh_from_db()
    assert user.has_ended(second.session)


def test_a_session_keeps_a_bounded_number_of_tokens(user, monkeypatch):
    monkeypatch.setattr(models, "MAX_TOKENS", 3)
    pair = RefreshToken.objects.issue(user, NO_SOURCE)
    for _ in range(2):
        pair = RefreshToken.objects.rotate(pair.refresh, NO_SOURCE)

    with pytest.raises(TokenError):
        RefreshToken.objects.rotate(pair.refresh, NO_SOURCE)

    assert RefreshToken.objects.count() == 3
    assert not user.refresh_tokens.live().exists()
