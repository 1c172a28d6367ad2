"""Guessing stops at the guesser's address; the owner of the account is never locked out elsewhere."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine
from django.test import Client, override_settings

from qa.testing.accounts import PASSWORD, Person
from qa.testing.concurrency import at_once

GUESSER = "198.51.100.7"


@pytest.fixture
def guesser(alice) -> Person:
    """Someone who has just failed five times to sign in as alice."""
    person = Person(alice.email, address=GUESSER)
    for number in range(5):
        assert person.log_in(f"guess number {number}").status_code == 401
    return person


def test_the_sixth_attempt_is_refused_even_with_the_right_password(guesser):
    response = guesser.log_in(PASSWORD)

    assert response.status_code == 429
    assert response.data["code"] == "too_many_failed_logins"
    assert 0 < int(response["Retry-After"]) <= 15 * 60
    assert response.data["limit"]["limit"] == 5


def test_the_owner_signs_in_from_another_address(guesser, alice):
    assert Person(alice.email, address="192.0.2.10").log_in().status_code == 200


def test_other_accounts_are_open_to_the_guessers_address(guesser, bob):
    assert Person(bob.email, address=GUESSER).log_in().status_code == 200


def test_another_spelling_of_the_address_is_the_same_account(guesser):
    assert Person("ALICE@Example.com", address=GUESSER).log_in().status_code == 429


def test_another_address_of_the_same_ipv6_network_is_the_same_guesser(alice):
    for number in range(5):
        Person(alice.email, address=f"2001:db8::{number}").log_in("wrong password")

    assert Person(alice.email, address="2001:db8::99").log_in().status_code == 429


def test_unknown_addresses_are_locked_alike(guesser):
    unknown = Person("nobody@example.com", address="198.51.100.8")
    for number in range(5):
        assert unknown.log_in(f"guess number {number}").status_code == 401
    locked, known = unknown.log_in(), guesser.log_in()

    assert locked.status_code == known.status_code == 429
    assert locked.data["title"] == known.data["title"]
    assert locked.data["code"] == known.data["code"]


@override_settings(RATES={"default": "600/m", "auth.failures": "5/15m"})
def test_a_success_forgets_the_failures(alice):
    person = Person(alice.email)
    for _ in range(3):
        for number in range(4):
            assert person.log_in(f"guess number {number}").status_code == 401
        assert person.log_in().status_code == 200


def test_the_lock_opens_when_its_time_is_over(guesser):
    wait = int(guesser.log_in()["Retry-After"])

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=wait + 1)):
        assert guesser.log_in().status_code == 200


@override_settings(RATES={"default": "600/m", "auth.failures": "5/15m"})
def test_guesses_sent_at_once_do_not_get_past_the_limit(alice):
    guesser = Person(alice.email, address=GUESSER)

    responses = at_once(*[partial(guesser.log_in, f"guess number {number}") for number in range(20)])

    assert sorted(response.status_code for response in responses) == [401] * 5 + [429] * 15


def test_the_admin_counts_the_same_failures(guesser, alice):
    alice.is_staff = True
    alice.save()
    admin = Client(REMOTE_ADDR=GUESSER)

    page = admin.post("/admin/login/", {"username": alice.email, "password": PASSWORD})
    assert page.status_code == 200
    assert "Too many failed logins" in page.content.decode()
    assert "_auth_user_id" not in admin.session


def test_failures_at_the_admin_lock_the_api(alice):
    admin = Client(REMOTE_ADDR=GUESSER)
    for number in range(5):
        admin.post("/admin/login/", {"username": alice.email, "password": f"guess number {number}"})

    assert Person(alice.email, address=GUESSER).log_in().status_code == 429
