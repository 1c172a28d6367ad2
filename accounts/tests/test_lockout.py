"""Password guessing is locked out per network; the account's owner can still log in from elsewhere."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine
from django.test import Client, override_settings

from core.audit.models import AuditEvent
from qa.testing.accounts import PASSWORD, AuthClient
from qa.testing.concurrency import run_concurrently

ATTACKER_ADDRESS = "198.51.100.7"


@pytest.fixture
def attacker(alice) -> AuthClient:
    """A client that has just failed five times to log in as alice."""
    person = AuthClient(alice.email, address=ATTACKER_ADDRESS)
    for number in range(5):
        assert person.log_in(f"guess number {number}").status_code == 401
    return person


def test_the_sixth_attempt_is_rejected_even_with_the_right_password(attacker):
    response = attacker.log_in(PASSWORD)

    assert response.status_code == 429
    assert response.data["code"] == "too_many_failed_logins"
    assert 0 < int(response["Retry-After"]) <= 15 * 60
    assert response.data["limit"]["limit"] == 5


def test_the_owner_can_log_in_from_another_address(attacker, alice):
    assert AuthClient(alice.email, address="192.0.2.10").log_in().status_code == 200


def test_other_accounts_are_not_locked_for_the_attackers_address(attacker, bob):
    assert AuthClient(bob.email, address=ATTACKER_ADDRESS).log_in().status_code == 200


def test_another_spelling_of_the_e_mail_address_is_the_same_account(attacker):
    assert AuthClient("ALICE@Example.com", address=ATTACKER_ADDRESS).log_in().status_code == 429


def test_addresses_of_one_ipv6_network_are_counted_together(alice):
    for number in range(5):
        AuthClient(alice.email, address=f"2001:db8::{number}").log_in("wrong password")

    assert AuthClient(alice.email, address="2001:db8::99").log_in().status_code == 429


def test_unknown_e_mail_addresses_are_locked_in_the_same_way(attacker):
    unknown = AuthClient("unknown@example.com", address="198.51.100.8")
    for number in range(5):
        assert unknown.log_in(f"guess number {number}").status_code == 401
    locked, known = unknown.log_in(), attacker.log_in()

    assert locked.status_code == known.status_code == 429
    assert locked.data["title"] == known.data["title"]
    assert locked.data["code"] == known.data["code"]


@pytest.mark.usefixtures("one_window")
@override_settings(RATES={"default": "600/m", "auth.failures": "5/15m"})
def test_a_successful_login_resets_the_count(alice):
    person = AuthClient(alice.email)
    for _ in range(3):
        for number in range(4):
            assert person.log_in(f"guess number {number}").status_code == 401
        assert person.log_in().status_code == 200


def test_the_lockout_ends_after_its_period(attacker):
    wait = int(attacker.log_in()["Retry-After"])

    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=wait + 1)):
        assert attacker.log_in().status_code == 200


@pytest.mark.usefixtures("one_window")
@override_settings(RATES={"default": "600/m", "auth.failures": "5/15m"})
def test_concurrent_guesses_do_not_exceed_the_limit(alice):
    attacker = AuthClient(alice.email, address=ATTACKER_ADDRESS)

    responses = run_concurrently(
        *[partial(attacker.log_in, f"guess number {number}") for number in range(20)]
    )

    assert sorted(response.status_code for response in responses) == [401] * 5 + [429] * 15


def test_the_admin_shares_the_count(attacker, alice):
    alice.update(is_staff=True)
    admin = Client(REMOTE_ADDR=ATTACKER_ADDRESS)

    page = admin.post("/admin/login/", {"username": alice.email, "password": PASSWORD})
    assert page.status_code == 429
    assert "Too many failed logins" in page.content.decode()
    assert "_auth_user_id" not in admin.session


def test_failures_at_the_admin_lock_out_the_api(alice):
    admin = Client(REMOTE_ADDR=ATTACKER_ADDRESS)
    for number in range(5):
        admin.post("/admin/login/", {"username": alice.email, "password": f"guess number {number}"})

    assert AuthClient(alice.email, address=ATTACKER_ADDRESS).log_in().status_code == 429


def test_guesses_at_the_admin_with_many_addresses_have_the_rate_of_logins(db):
    def guess(number: int) -> int:
        form = {"username": f"staff{number}@example.com", "password": PASSWORD}
        return Client(REMOTE_ADDR=ATTACKER_ADDRESS).post("/admin/login/", form).status_code

    assert [guess(number) for number in range(12)] == [200] * 10 + [429] * 2
    assert AuditEvent.objects.filter(action="user.login_failed").count() == 10
    assert AuthClient("bob@example.com", address=ATTACKER_ADDRESS).log_in().status_code == 429
