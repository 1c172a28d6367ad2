"""Registration: the account, what is rejected, and that little is revealed about existing accounts."""

import pytest

from accounts.models import User
from qa.testing.accounts import PASSWORD, AuthClient, problem_fields

CAROL = {"email": "carol@example.com", "password": PASSWORD, "name": "Carol"}


def test_a_new_user_is_signed_in(stranger):
    response = stranger.post("register", CAROL)

    assert response.status_code == 201
    assert response["Location"] == "/api/auth/profile"
    assert response["Cache-Control"] == "no-store"
    assert set(response.data) == {"user", "access", "refresh"}
    assert response.data["user"].keys() == {"id", "email", "name", "created_at", "updated_at"}
    stranger.access = response.data["access"]
    assert stranger.get("profile").data["email"] == "carol@example.com"


def test_the_password_is_stored_as_argon2_with_19_mebibytes(real_hasher, stranger):
    stranger.post("register", CAROL)

    password = User.objects.get(email="carol@example.com").password
    assert password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


def test_the_address_is_stored_in_lower_case(stranger):
    stranger.post("register", {**CAROL, "email": " Carol@Example.COM "})

    assert User.objects.get().email == "carol@example.com"
    assert AuthClient("CAROL@example.com").log_in().status_code == 200


def test_the_name_is_optional(stranger):
    response = stranger.post("register", {"email": CAROL["email"], "password": PASSWORD})

    assert response.status_code == 201
    assert response.data["user"]["name"] == ""


@pytest.mark.parametrize("domain", ["ü" * 60, "xn--" + "ü" * 30, "a\N{HEBREW LETTER ALEF}"])
def test_an_address_that_can_not_be_mailed_is_refused(stranger, domain):
    """Each of them is a valid address for Django, and an error when a mail is built."""
    for path, body in (("register", CAROL), ("password-reset", {})):
        response = stranger.post(path, {**body, "email": f"carol@{domain}.com"})
        assert (response.status_code, problem_fields(response)) == (400, {"email": ["invalid"]}), path


@pytest.mark.parametrize(
    "email",
    [
        "alice@example.com",
        "ALICE@example.com",
        "alice@exam\N{SOFT HYPHEN}ple.com",
        "alice@example\N{IDEOGRAPHIC FULL STOP}com",
        "alice@e\N{ZERO WIDTH JOINER}xample.com",
    ],
)
def test_a_taken_address_is_rejected_and_its_account_is_unchanged(alice, stranger, email):
    response = stranger.post("register", {**CAROL, "email": email})

    assert response.status_code == 409
    assert response.data["code"] == "email_unavailable"
    alice.refresh_from_db()
    assert alice.name == "Alice"
    assert alice.check_password(PASSWORD)


def test_the_response_for_a_taken_address_reveals_nothing_about_its_account(alice, bob, stranger):
    User.objects.filter(pk=bob.pk).update(is_active=False, is_staff=True)

    answers = [stranger.post("register", {**CAROL, "email": user.email}).data for user in (alice, bob)]
    for answer in answers:
        answer.pop("request_id")
    assert answers[0] == answers[1]


def test_a_weak_password_is_rejected_equally_for_taken_and_free_addresses(alice, stranger):
    answers = [
        stranger.post("register", {**CAROL, "email": email, "password": "password123"}).data
        for email in (alice.email, "free@example.com")
    ]
    for answer in answers:
        answer.pop("request_id")
    assert answers[0] == answers[1]
    assert answers[0]["status"] == 400


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short1x", "password_too_short"),
        ("password123", "password_too_common"),
        ("918273645546372819", "password_entirely_numeric"),
        ("carol@example.com", "password_too_similar"),
        ("Carol Danvers", "password_too_similar"),
        ("x" * 257, "max_length"),
    ],
)
def test_a_weak_password_is_a_field_error(stranger, password, code):
    response = stranger.post("register", {**CAROL, "name": "Carol Danvers", "password": password})

    assert code in problem_fields(response)["password"]
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"email": 12}, "email", "invalid"),
        ({"email": ["carol@example.com"]}, "email", "invalid"),
        ({"email": "carol"}, "email", "invalid"),
        ({"email": ""}, "email", "blank"),
        ({"email": None}, "email", "null"),
        ({"email": f"{'c' * 250}@example.com"}, "email", "max_length"),
        ({"password": 12345678901234}, "password", "invalid"),
        ({"password": {"$ne": ""}}, None, None),
        ({"password": True}, "password", "invalid"),
        ({"password": ""}, "password", "blank"),
        ({"name": 7}, "name", "invalid"),
        ({"name": "n" * 101}, "name", "max_length"),
        ({"is_staff": True}, "is_staff", "unknown_field"),
        ({"id": "0" * 24}, "id", "unknown_field"),
    ],
)
def test_each_invalid_value_is_named(stranger, change, field, code):
    response = stranger.post("register", {**CAROL, **change})

    if field is None:
        assert response.status_code == 400
    else:
        assert code in problem_fields(response)[field]
    assert not User.objects.exists()


@pytest.mark.parametrize("missing", ["email", "password"])
def test_each_missing_field_is_named(stranger, missing):
    body = {name: value for name, value in CAROL.items() if name != missing}

    assert problem_fields(stranger.post("register", body)) == {missing: ["required"]}


@pytest.mark.parametrize("body", [[], "text", 1, None])
def test_a_body_that_is_not_an_object_is_rejected(stranger, body):
    assert stranger.post("register", body).status_code == 400


def test_registration_works_with_a_stale_access_token_in_the_header(stranger):
    assert stranger.post("register", CAROL, HTTP_AUTHORIZATION="Bearer stale").status_code == 201


def test_registrations_from_one_address_are_limited(stranger):
    statuses = [
        stranger.post("register", {**CAROL, "email": f"c{number}@example.com"}).status_code
        for number in range(11)
    ]

    assert statuses == [201] * 10 + [429]
