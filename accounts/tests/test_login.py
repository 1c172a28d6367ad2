"""Login: the response, the session, and that nothing reveals which addresses are registered."""

import argon2.low_level
import pytest
from django.contrib.auth import authenticate
from rest_framework_simplejwt.exceptions import TokenError

from accounts.models import RefreshToken, User
from core.audit.models import NO_SOURCE
from qa.testing.accounts import PASSWORD, AuthClient, problem_fields


def test_login_returns_the_user_and_two_tokens(alice):
    response = AuthClient(alice.email).log_in()

    assert response.status_code == 200
    assert set(response.data) == {"user", "access", "refresh"}
    assert response.data["user"]["id"] == str(alice.pk)
    assert response["Cache-Control"] == "no-store"


def test_login_stores_address_and_user_agent(alice):
    AuthClient(alice.email, address="192.0.2.33").post(
        "login", {"email": alice.email, "password": PASSWORD}, HTTP_USER_AGENT="x" * 500
    )

    token = RefreshToken.objects.get(user=alice)
    assert (token.address, token.user_agent) == ("192.0.2.33", "x" * 300)
    alice.refresh_from_db()
    assert alice.last_login is not None


def test_login_ignores_the_case_of_the_address(alice):
    assert AuthClient("Alice@EXAMPLE.com").log_in().status_code == 200


def test_wrong_password_unknown_address_and_inactive_user_get_the_same_response(alice, bob):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    answers = [
        AuthClient(alice.email).log_in("wrong password"),
        AuthClient("unknown@example.com").log_in("wrong password"),
        AuthClient(bob.email).log_in(PASSWORD),
        AuthClient(bob.email).log_in("wrong password"),
    ]

    first = answers[0]
    assert first.status_code == 401
    assert first["WWW-Authenticate"] == 'Bearer realm="api"'
    assert first.data["code"] == "wrong_credentials"
    for answer in answers[1:]:
        assert {**answer.data, "request_id": ""} == {**first.data, "request_id": ""}
        assert answer["WWW-Authenticate"] == first["WWW-Authenticate"]


class CountedHashes:
    """Counts the runs of argon2, which take most of a login's time."""

    def __init__(self, monkeypatch) -> None:
        self.count = 0
        for owner, name in ((argon2.low_level, "hash_secret"), (argon2.PasswordHasher, "verify")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, original):
        def run(*args, **kwargs):
            self.count += 1
            return original(*args, **kwargs)

        return run


def test_every_rejected_login_computes_exactly_one_hash(alice, bob, monkeypatch):
    bob.set_unusable_password()
    bob.save()
    User.objects.create_user("inactive@example.com", PASSWORD, is_active=False)
    hashes = CountedHashes(monkeypatch)

    counts = []
    for email in (alice.email, "unknown@example.com", bob.email, "inactive@example.com"):
        hashes.count = 0
        AuthClient(email).log_in("wrong password")
        counts.append(hashes.count)
    assert counts == [1, 1, 1, 1]


def test_every_well_formed_registration_computes_exactly_one_hash(alice, stranger, monkeypatch):
    hashes = CountedHashes(monkeypatch)

    counts = []
    for email in (alice.email, "free@example.com"):
        hashes.count = 0
        stranger.post("register", {"email": email, "password": PASSWORD})
        counts.append(hashes.count)
    assert counts == [1, 1]


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"password": PASSWORD}, "email", "required"),
        ({"email": "alice@example.com"}, "password", "required"),
        ({"email": "alice@example.com", "password": 5}, "password", "invalid"),
        ({"email": {}, "password": PASSWORD}, "email", "invalid"),
        ({"email": "alice@example.com", "password": "x" * 257}, "password", "max_length"),
        ({"email": "alice@example.com", "password": PASSWORD, "remember": True}, "remember", "unknown_field"),
    ],
)
def test_each_invalid_field_is_named(alice, stranger, body, field, code):
    assert problem_fields(stranger.post("login", body))[field] == [code]


def test_spaces_are_part_of_a_password(alice):
    assert AuthClient(alice.email).log_in(f" {PASSWORD}").status_code == 401


def test_login_works_with_a_stale_access_token_in_the_header(alice):
    person = AuthClient(alice.email)
    person.access = "stale"

    assert person.log_in().status_code == 200


def test_a_login_fails_if_the_password_is_changed_after_it_was_checked(alice):
    user = authenticate(None, username=alice.email, password=PASSWORD)

    assert alice.change_password("another long password", by=alice.as_actor())
    with pytest.raises(TokenError):
        RefreshToken.objects.issue(user, NO_SOURCE)
    assert not alice.refresh_tokens.live().exists()


def test_a_login_fails_if_the_user_is_deactivated_after_the_check(alice):
    user = authenticate(None, username=alice.email, password=PASSWORD)

    alice.is_active = False
    alice.save(update_fields=["is_active"])
    with pytest.raises(TokenError):
        RefreshToken.objects.issue(user, NO_SOURCE)
    assert not alice.refresh_tokens.live().exists()


def test_login_replaces_a_hash_with_outdated_parameters(real_hasher, alice):
    weak = "argon2" + argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    User.objects.filter(pk=alice.pk).update(password=weak)

    assert AuthClient(alice.email).log_in().status_code == 200
    alice.refresh_from_db()
    assert "m=19456,t=2,p=1" in alice.password
