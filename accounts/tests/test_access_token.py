"""Which access tokens are accepted, and until when."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.tokens import AccessToken, RefreshToken
from qa.testing.accounts import AuthClient

ACCESS_SECRET = settings.SIMPLE_JWT["SIGNING_KEY"]


def claims_of(encoded: str) -> dict:
    return jwt.decode(encoded, options={"verify_signature": False})


def signed(claims: dict, secret: str = ACCESS_SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def rejection(token: str) -> str:
    """Return the code of the 401 that a request with this token gets."""
    person = AuthClient("")
    person.access = token
    response = person.get("profile")
    assert response.status_code == 401, response.data
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'
    return response.data["code"]


def test_the_claims_are_what_the_documentation_says(laptop, alice):
    claims = claims_of(laptop.access)

    assert claims["sub"] == str(alice.pk)
    assert (claims["iss"], claims["aud"]) == ("chat-agent-platform", "chat-agent-platform")
    assert claims["token_type"] == "access"
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert claims["sid"] == claims_of(laptop.refresh)["sid"]
    assert claims_of(laptop.refresh)["exp"] - claims["iat"] == 7 * 86400


def test_a_token_signed_again_with_the_same_claims_is_accepted(laptop):
    """Control for the tests below: only what they change causes the rejection."""
    laptop.access = signed(claims_of(laptop.access))

    assert laptop.is_signed_in()


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "someone-else"},
        {"aud": "another-service"},
        {"token_type": "refresh"},
        {"iss": None},
        {"aud": None},
        {"token_type": None},
        {"exp": None},
        {"jti": None},
        {"sub": None},
        {"sid": None},
    ],
    ids=str,
)
def test_each_claim_is_checked(laptop, change):
    claims = {**claims_of(laptop.access), **change}

    assert (
        rejection(signed({name: value for name, value in claims.items() if value is not None}))
        == "token_invalid"
    )


def test_an_unsigned_token_is_rejected(laptop):
    claims = claims_of(laptop.access)

    assert rejection(jwt.encode(claims, None, algorithm="none")) == "token_invalid"
    assert rejection(laptop.access.rpartition(".")[0] + ".") == "token_invalid"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_rejected_even_with_the_right_secret(laptop, algorithm):
    assert rejection(signed(claims_of(laptop.access), algorithm=algorithm)) == "token_invalid"


def test_another_secret_is_rejected(laptop):
    assert rejection(signed(claims_of(laptop.access), "x" * 64)) == "token_invalid"


def test_an_access_token_signed_with_the_refresh_secret_is_rejected(laptop):
    assert rejection(signed(claims_of(laptop.access), settings.JWT_REFRESH_SECRET)) == "token_invalid"


def test_a_refresh_token_is_not_accepted_as_an_access_token(laptop):
    assert rejection(laptop.refresh) == "token_invalid"


@pytest.mark.parametrize("token", ["malformed", "a.b.c", "", "a b", "é", "." * 2000, "null"])
@pytest.mark.django_db
def test_a_malformed_token_is_rejected(token):
    assert rejection(token + " ") == "token_invalid"


def test_an_expired_token_has_its_own_code(laptop):
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15, seconds=1)):
        assert rejection(laptop.access) == "token_expired"


def test_a_request_without_a_token_gets_401(stranger):
    response = stranger.get("profile")

    assert response.status_code == 401
    assert response.data["code"] == "not_authenticated"
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_another_scheme_is_ignored(stranger):
    assert stranger.get("profile", HTTP_AUTHORIZATION="Basic YTpi").data["code"] == "not_authenticated"


def test_the_scheme_is_case_insensitive(laptop):
    assert laptop.get("profile", HTTP_AUTHORIZATION=f"bearer {laptop.access}").status_code == 200


def test_a_token_of_a_deleted_user_is_rejected(laptop, alice):
    alice.delete()

    assert rejection(laptop.access) == "session_ended"


def test_deactivation_invalidates_all_tokens_at_once(laptop, phone, alice):
    alice.is_active = False
    alice.save(update_fields=["is_active"])

    assert rejection(laptop.access) == rejection(phone.access) == "session_ended"
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401


def test_tokens_of_an_inactive_user_are_rejected_even_if_no_session_was_ended(laptop, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert rejection(laptop.access) == "session_ended"


def test_reactivation_restores_no_session(laptop, alice):
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    alice.is_active = True
    alice.save(update_fields=["is_active"])

    assert rejection(laptop.access) == "session_ended"
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401
    assert laptop.log_in().status_code == 200


def test_authentication_costs_one_query(laptop):
    with CaptureQueriesContext(connection) as queries:
        laptop.get("profile")

    assert len([query for query in queries.captured_queries if "accounts_" in query["sql"]]) == 1


def test_saving_a_stale_copy_of_the_user_restores_no_session(laptop, alice):
    stale = User.objects.get(pk=alice.pk)
    alice.end_sessions()
    stale.update(name="Alice L.")

    assert rejection(laptop.access) == "session_ended"


def test_ended_sessions_are_removed_once_their_access_tokens_have_expired(laptop, alice):
    laptop.post("logout-all")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=17)):
        alice.end_session("another")

    alice.refresh_from_db()
    assert [ended["family"] for ended in alice.ended_sessions] == ["another"]


def test_ending_sessions_repeatedly_keeps_one_entry_per_session(laptop, phone, alice):
    for _ in range(3):
        alice.end_sessions()

    alice.refresh_from_db()
    families = [ended["family"] for ended in alice.ended_sessions]
    assert sorted(families) == sorted({claims_of(laptop.access)["sid"], claims_of(phone.access)["sid"]})


def test_repr_does_not_show_tokens(alice):
    for kind in (AccessToken, RefreshToken):
        token = kind.of_session(alice.pk, "family")
        assert str(token).rpartition(".")[2] not in repr(token)


@pytest.mark.parametrize("seconds", [-29, -1, 1, 29])
def test_a_token_of_a_machine_whose_clock_differs_is_accepted(alice, laptop, seconds):
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        laptop.log_in()

    assert laptop.is_signed_in()
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 200


def test_a_token_from_the_future_is_rejected(laptop):
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60)):
        laptop.log_in()

    assert rejection(laptop.access) == "token_invalid"
