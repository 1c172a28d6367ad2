"""Changing the password: which sessions end, which input is rejected, and races."""

from functools import partial

import pytest
import time_machine
from django.utils import timezone

from accounts.models import User
from qa.testing.accounts import PASSWORD, AuthClient, problem_fields
from qa.testing.concurrency import run_concurrently

NEW = "a much better secret"
CHANGE = {"current_password": PASSWORD, "new_password": NEW}


def test_the_new_password_works_and_the_old_one_does_not(laptop, alice):
    assert laptop.put("change-password", CHANGE).status_code == 204

    assert AuthClient(alice.email).log_in(PASSWORD).status_code == 401
    assert AuthClient(alice.email).log_in(NEW).status_code == 200


def test_other_sessions_end_at_once_and_the_callers_own_continues(laptop, phone):
    laptop.put("change-password", CHANGE)

    assert phone.get("profile").data["code"] == "session_ended"
    assert phone.post("refresh-token", {"refresh": phone.refresh}).status_code == 401
    assert laptop.is_signed_in()
    assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 200


def test_a_wrong_current_password_changes_nothing(laptop, phone):
    response = laptop.put("change-password", {**CHANGE, "current_password": "wrong password"})

    assert problem_fields(response) == {"current_password": ["wrong_password"]}
    assert phone.is_signed_in()
    assert phone.log_in(PASSWORD).status_code == 200


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"new_password": "short"}, "new_password", "password_too_short"),
        ({"new_password": "alice@example.com"}, "new_password", "password_too_similar"),
        ({"new_password": "1234567890"}, "new_password", "password_entirely_numeric"),
        ({"new_password": 1234567890123}, "new_password", "invalid"),
        ({"new_password": "x" * 257}, "new_password", "max_length"),
        ({"new_password": None}, "new_password", "null"),
        ({"current_password": []}, "current_password", "invalid"),
        ({"email": "alice@example.com"}, "email", "unknown_field"),
    ],
)
def test_each_invalid_field_is_named(laptop, phone, change, field, code):
    assert code in problem_fields(laptop.put("change-password", {**CHANGE, **change}))[field]
    assert phone.is_signed_in()


@pytest.mark.parametrize("missing", ["current_password", "new_password"])
def test_each_missing_field_is_named(laptop, missing):
    body = {name: value for name, value in CHANGE.items() if name != missing}

    assert problem_fields(laptop.put("change-password", body)) == {missing: ["required"]}


def test_it_requires_authentication(stranger):
    assert stranger.put("change-password", CHANGE).status_code == 401


def test_guessing_the_current_password_is_limited(laptop):
    # With a frozen clock, so that no new minute begins.
    with time_machine.travel(timezone.now(), tick=False):
        statuses = [
            laptop.put("change-password", {**CHANGE, "current_password": f"guess {number}"}).status_code
            for number in range(11)
        ]

    assert statuses == [400] * 10 + [429]


def test_one_of_several_concurrent_changes_succeeds(alice):
    people = [AuthClient(alice.email, address=f"192.0.2.{number}") for number in range(6)]
    for person in people:
        person.log_in()

    responses = run_concurrently(
        *[
            partial(person.put, "change-password", {**CHANGE, "new_password": f"{NEW} number {number}"})
            for number, person in enumerate(people)
        ]
    )

    statuses = [response.status_code for response in responses]
    assert statuses.count(204) == 1
    assert AuthClient(alice.email).log_in(f"{NEW} number {statuses.index(204)}").status_code == 200
    assert [person.is_signed_in() for person in people] == [status == 204 for status in statuses]


def test_no_login_with_the_old_password_survives_the_change(alice):
    """Logins race with the change; whether or not they succeed, none leaves a usable session."""
    for old, new in [(PASSWORD, NEW), (NEW, PASSWORD)] * 2:
        changing = AuthClient(alice.email, address="192.0.2.100")
        changing.log_in(old)
        people = [AuthClient(alice.email, address=f"192.0.2.{number}") for number in range(4)]
        change = partial(changing.put, "change-password", {"current_password": old, "new_password": new})

        changed, *_ = run_concurrently(change, *[partial(person.log_in, old) for person in people])

        assert changed.status_code == 204
        assert not any(person.access and person.is_signed_in() for person in people)
        assert User.objects.get(pk=alice.pk).refresh_tokens.live().count() == 1
        changing.post("logout")
