"""What an access token must be to be believed, and when it stops."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
import time_machine
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from accounts.tokens import AccessToken, RefreshToken
from qa.testing.accounts import Person

ACCESS_SECRET = settings.SIMPLE_JWT["SIGNING_KEY"]


def claims_of(encoded: str) -> dict:
    return jwt.decode(encoded, options={"verify_signature": False})


def signed(claims: dict, secret: str = ACCESS_SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def refusal(token: str) -> str:
    """Return the code of the 401 that a request with this token gets."""
    person = Person("")
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


def test_a_token_signed_again_with_the_same_claims_is_believed(laptop):
    """Keeps the refusals below honest: what they change is what is refused."""
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
        refusal(signed({name: value for name, value in claims.items() if value is not None}))
        == "token_invalid"
    )


def test_an_unsigned_token_is_refused(laptop):
    claims = claims_of(laptop.access)

    assert refusal(jwt.encode(claims, None, algorithm="none")) == "token_invalid"
    assert refusal(laptop.access.rpartition(".")[0] + ".") == "token_invalid"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_our_secret(laptop, algorithm):
    assert refusal(signed(claims_of(laptop.access), algorithm=algorithm)) == "token_invalid"


def test_a_foreign_secret_is_refused(laptop):
    assert refusal(signed(claims_of(laptop.access), "x" * 64)) == "token_invalid"


def test_the_refresh_secret_signs_no_access_token(laptop):
    assert refusal(signed(claims_of(laptop.access), settings.JWT_REFRESH_SECRET)) == "token_invalid"


def test_a_refresh_token_opens_nothing(laptop):
    assert refusal(laptop.refresh) == "token_invalid"


@pytest.mark.parametrize("token", ["garbled", "a.b.c", "", "a b", "é", "." * 2000, "null"])
@pytest.mark.django_db
def test_a_garbled_token_is_refused(token):
    assert refusal(token + " ") == "token_invalid"


def test_an_expired_token_says_so(laptop):
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=15, seconds=1)):
        assert refusal(laptop.access) == "token_expired"


def test_no_token_is_a_401_too(stranger):
    response = stranger.get("profile")

    assert response.status_code == 401
    assert response.data["code"] == "not_authenticated"
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_another_scheme_is_no_token(stranger):
    assert stranger.get("profile", HTTP_AUTHORIZATION="Basic YTpi").data["code"] == "not_authenticated"


def test_the_scheme_is_read_in_any_case(laptop):
    assert laptop.get("profile", HTTP_AUTHORIZATION=f"bearer {laptop.access}").status_code == 200


def test_a_token_of_a_deleted_user_is_refused(laptop, alice):
    alice.delete()

    assert refusal(laptop.access) == "session_ended"


def test_deactivation_refuses_all_tokens_at_once(laptop, phone, alice):
    alice.is_active = False
    alice.save()

    assert refusal(laptop.access) == refusal(phone.access) == "session_ended"
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401


def test_a_deactivation_that_ended_no_session_refuses_all_the_same(laptop, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert refusal(laptop.access) == "session_ended"


def test_reactivation_brings_no_session_back(laptop, alice):
    alice.is_active = False
    alice.save()
    alice.is_active = True
    alice.save()

    assert refusal(laptop.access) == "session_ended"
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401
    assert laptop.log_in().status_code == 200


def test_authentication_costs_one_query(laptop):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        laptop.get("profile")

    assert [query for query in queries.captured_queries if "accounts_" in query["sql"]] != []
    assert len([query for query in queries.captured_queries if "accounts_" in query["sql"]]) == 1


def test_saving_an_older_copy_of_the_user_brings_no_session_back(laptop, alice):
    older = User.objects.get(pk=alice.pk)
    alice.end_sessions()
    older.name = "Alice L."
    older.save()

    assert refusal(laptop.access) == "session_ended"


def test_ended_sessions_are_forgotten_once_their_access_tokens_have_expired(laptop, alice):
    laptop.post("logout-all")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=17)):
        alice.end_session("another")

    alice.refresh_from_db()
    assert [ended["family"] for ended in alice.ended_sessions] == ["another"]


def test_ending_sessions_again_and_again_keeps_one_entry_for_each(laptop, phone, alice):
    for _ in range(3):
        alice.end_sessions()

    alice.refresh_from_db()
    families = [ended["family"] for ended in alice.ended_sessions]
    assert sorted(families) == sorted({claims_of(laptop.access)["sid"], claims_of(phone.access)["sid"]})


def test_tokens_are_not_shown_by_repr(alice):
    for kind in (AccessToken, RefreshToken):
        token = kind.of_session(alice.pk, "family")
        assert str(token).rpartition(".")[2] not in repr(token)
