"""Refresh tokens: rotation, detection of reuse, races, and which tokens are rejected."""

from datetime import UTC, datetime, timedelta
from functools import partial

import jwt
import pytest
import time_machine
from django.conf import settings
from django.test import override_settings

from accounts.models import REUSE_GRACE, RefreshToken
from qa.testing.accounts import AuthClient, problem_fields
from qa.testing.concurrency import run_concurrently


def refresh(person: AuthClient, token: str | None = None):
    return AuthClient("").post("refresh-token", {"refresh": token or person.refresh})


def later(**delta):
    return time_machine.travel(datetime.now(UTC) + timedelta(**delta))


def test_a_refresh_token_is_exchanged_for_the_next_pair(laptop):
    response = refresh(laptop)

    assert response.status_code == 200
    assert set(response.data) == {"access", "refresh"}
    assert response["Cache-Control"] == "no-store"
    assert response.data["refresh"] != laptop.refresh
    laptop.access = response.data["access"]
    assert laptop.is_signed_in()
    assert refresh(laptop, response.data["refresh"]).status_code == 200


def test_the_session_stays_the_same_and_is_extended(laptop, alice):
    with later(days=6):
        successor = refresh(laptop).data["refresh"]
    with later(days=12):
        assert refresh(laptop, successor).status_code == 200

    families = set(alice.refresh_tokens.values_list("family", flat=True))
    starts = set(alice.refresh_tokens.values_list("started_at", flat=True))
    assert len(families) == len(starts) == 1


def test_reuse_of_a_token_ends_its_session(laptop):
    stolen = laptop.refresh
    renewed = refresh(laptop).data
    with later(seconds=REUSE_GRACE.total_seconds() + 1):
        assert refresh(laptop, stolen).status_code == 401

        assert refresh(laptop, renewed["refresh"]).status_code == 401
        laptop.access = renewed["access"]
        assert laptop.get("profile").data["code"] == "session_ended"


def test_reuse_of_a_token_does_not_affect_other_sessions(laptop, phone):
    stolen = laptop.refresh
    refresh(laptop)
    with later(seconds=REUSE_GRACE.total_seconds() + 1):
        refresh(laptop, stolen)

        assert phone.is_signed_in()
        assert refresh(phone).status_code == 200


def test_reuse_within_the_grace_period_ends_nothing(laptop):
    renewed = refresh(laptop).data
    assert refresh(laptop).status_code == 401

    assert refresh(laptop, renewed["refresh"]).status_code == 200


@override_settings(RATES={"default": "600/m"})
def test_exactly_one_of_twenty_concurrent_refreshes_succeeds_and_its_tokens_work(laptop, alice):
    for _ in range(3):
        responses = run_concurrently(*[partial(refresh, laptop)] * 20)

        assert sorted(response.status_code for response in responses) == [200] + [401] * 19
        [winner] = [response for response in responses if response.status_code == 200]
        laptop.access, laptop.refresh = winner.data["access"], winner.data["refresh"]
        assert laptop.is_signed_in()
        assert alice.refresh_tokens.live().count() == 1
    assert refresh(laptop).status_code == 200


def test_no_refresh_that_races_with_logout_all_leaves_a_session(alice):
    for _ in range(5):
        people = [AuthClient(alice.email, address=f"192.0.2.{number}") for number in range(6)]
        for person in people:
            person.log_in()

        _, *responses = run_concurrently(alice.end_sessions, *[partial(refresh, person) for person in people])

        for response in responses:
            if response.status_code == 200:
                survivor = AuthClient(alice.email)
                survivor.access = response.data["access"]
                assert not survivor.is_signed_in()
        assert not alice.refresh_tokens.live().exists()


@pytest.mark.parametrize("days", [7, 30])
def test_an_expired_token_has_its_own_code(laptop, days):
    with later(days=days, seconds=1):
        response = refresh(laptop)

    assert response.status_code == 401
    assert response.data["code"] == "token_expired"
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_an_access_token_is_not_accepted_as_a_refresh_token(laptop):
    assert refresh(laptop, laptop.access).data["code"] == "token_invalid"


def forged(laptop: AuthClient, secret: str | None, algorithm: str, **changes) -> str:
    claims = jwt.decode(laptop.refresh, options={"verify_signature": False})
    return jwt.encode({**claims, **changes}, secret, algorithm=algorithm)


@pytest.mark.parametrize(
    ("secret", "algorithm", "changes"),
    [
        (None, "none", {}),
        ("x" * 64, "HS256", {}),
        (settings.SIMPLE_JWT["SIGNING_KEY"], "HS256", {}),
        (settings.JWT_REFRESH_SECRET, "HS512", {}),
        (settings.JWT_REFRESH_SECRET, "HS256", {"token_type": "access"}),
        (settings.JWT_REFRESH_SECRET, "HS256", {"iss": "someone-else"}),
        (settings.JWT_REFRESH_SECRET, "HS256", {"aud": "another-service"}),
        (settings.JWT_REFRESH_SECRET, "HS256", {"jti": "never issued"}),
    ],
    ids=["unsigned", "foreign", "access-secret", "algorithm", "type", "issuer", "audience", "unknown"],
)
def test_a_forged_token_is_rejected_and_changes_nothing(laptop, secret, algorithm, changes):
    response = refresh(laptop, forged(laptop, secret, algorithm, **changes))

    assert response.status_code == 401
    assert response.data["code"] == "token_invalid"
    assert refresh(laptop).status_code == 200


@pytest.mark.parametrize("token", ["malformed", "a.b.c", "é" * 10, "..", "x" * 4096])
@pytest.mark.django_db
def test_a_malformed_token_is_rejected(stranger, token):
    assert stranger.post("refresh-token", {"refresh": token}).data["code"] == "token_invalid"


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "refresh", "required"),
        ({"refresh": 5}, "refresh", "invalid"),
        ({"refresh": None}, "refresh", "null"),
        ({"refresh": ""}, "refresh", "blank"),
        ({"refresh": "x" * 4097}, "refresh", "max_length"),
        ({"refresh": "x", "access": "y"}, "access", "unknown_field"),
    ],
)
def test_each_invalid_field_is_named(stranger, body, field, code):
    assert problem_fields(stranger.post("refresh-token", body))[field] == [code]


def test_no_token_is_stored(laptop):
    [stored] = RefreshToken.collection().find()

    assert laptop.refresh not in str(stored)
    assert laptop.access not in str(stored)
