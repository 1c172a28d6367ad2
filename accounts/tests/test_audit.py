"""The audit trail of accounts: what users do with them, and what they are denied."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from core.audit.models import AuditEvent
from qa.testing.accounts import PASSWORD, AuthClient
from qa.testing.tenants import middle_of_next_hour

NEW_PASSWORD = "quite another phrase"


@pytest.fixture
def alice(db) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, name="Alice")


@pytest.fixture
def laptop(alice) -> AuthClient:
    person = AuthClient(alice.email)
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def staff(db) -> Client:
    client = Client(REMOTE_ADDR="192.0.2.50")
    client.force_login(User.objects.create_superuser("staff@example.com", PASSWORD))
    return client


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("created_at", "id"))


def only(action: str) -> tuple[str, str, str, str]:
    """Return actor, target, address and reason of the one event there is."""
    (event,) = events(action)
    return event.actor_name, event.target_name, event.address, event.reason


def changes(action: str) -> dict:
    (event,) = events(action)
    return event.changes


# -- API ----------------------------------------------------------------


def test_registration_is_recorded(db):
    body = {"email": "Ada@example.com", "password": PASSWORD, "name": "Ada"}
    assert AuthClient("").post("register", body).status_code == 201

    assert only("user.registered") == ("ada@example.com", "ada@example.com", "192.0.2.10", "")


@pytest.mark.parametrize("by_refresh_token", [False, True])
def test_a_logout_is_recorded_once(laptop, by_refresh_token):
    body = {"refresh": laptop.refresh} if by_refresh_token else {}
    if by_refresh_token:
        laptop.access = None
    assert laptop.post("logout", body).status_code == 204
    laptop.post("logout", body)

    assert only("user.logged_out") == ("alice@example.com", "alice@example.com", "192.0.2.10", "")


def test_logout_all_is_recorded(laptop):
    assert laptop.post("logout-all").status_code == 204

    assert only("user.sessions_ended")[0] == "alice@example.com"


def test_a_changed_password_is_recorded_without_the_password(laptop):
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert laptop.put("change-password", body).status_code == 204

    assert only("user.password_changed") == ("alice@example.com", "alice@example.com", "192.0.2.10", "")
    trail = str(list(AuditEvent.collection().find()))
    assert PASSWORD not in trail
    assert NEW_PASSWORD not in trail
    assert "argon2" not in trail


def test_only_a_change_of_the_name_is_recorded(laptop):
    assert laptop.put("profile", {"name": "Alice L."}).status_code == 200
    assert laptop.patch("profile", {"name": "Alice L."}).status_code == 200

    assert changes("user.updated") == {"name": ["Alice", "Alice L."]}


def test_guesses_of_the_current_password_are_recorded_once_an_hour(laptop):
    body = {"current_password": "wrong", "new_password": NEW_PASSWORD}
    with time_machine.travel(middle_of_next_hour(), tick=False):
        laptop.log_in()
        assert [laptop.put("change-password", body).status_code for _ in range(3)] == [400] * 3

    assert only("user.password_change_refused") == (
        "alice@example.com",
        "alice@example.com",
        "192.0.2.10",
        "wrong_password",
    )


def test_reuse_of_a_refresh_token_is_recorded(laptop, alice):
    spent = laptop.refresh
    assert laptop.post("refresh-token", {"refresh": spent}).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        thief = AuthClient(alice.email, address="203.0.113.5")
        assert thief.post("refresh-token", {"refresh": spent}).status_code == 401
        assert thief.post("refresh-token", {"refresh": spent}).status_code == 401

    recorded = only("user.refresh_refused")
    assert recorded == ("alice@example.com", "alice@example.com", "203.0.113.5", "token_reused")


@pytest.mark.parametrize("email", ["alice@example.com", "unknown@example.com"])
def test_a_lockout_is_recorded_once_after_the_failures_that_caused_it(alice, email):
    # A network per case: this process remembers what it has recorded, but the database is reset.
    network = "198.51.100.1" if email == alice.email else "198.51.100.2"
    attacker = AuthClient(email, address=network)
    with time_machine.travel(middle_of_next_hour(), tick=False):
        statuses = [attacker.log_in("wrong").status_code for _ in range(8)]

    assert statuses == [401] * 5 + [429] * 3
    assert len(events("user.login_failed")) == 5
    assert only("user.locked_out") == (email, email, network, "too_many_failed_logins")
    assert events("user.locked_out")[0].actor_id is None


def test_a_password_in_the_wrong_field_is_not_recorded(db):
    for _ in range(7):
        Client().post("/admin/login/", {"username": NEW_PASSWORD, "password": PASSWORD})

    assert {event.target_name for event in events("user.login_failed")} == {"(no e-mail address)"}
    assert NEW_PASSWORD not in str(list(AuditEvent.collection().find()))


def test_failed_logins_from_one_network_are_limited(db, settings):
    settings.RATES = {**settings.RATES, "auth.login": "1000/m"}
    with time_machine.travel(middle_of_next_hour(), tick=False):
        for number in range(110):
            client = Client(REMOTE_ADDR="203.0.113.77")
            body = {"email": f"u{number}@example.com", "password": "wrong"}
            assert client.post("/api/auth/login", body, "application/json").status_code == 401

    assert len(events("user.login_failed")) == 100
    assert len(events("refusals.cut_off")) == 1


def test_a_wrong_password_gets_400_even_if_it_can_not_be_recorded(laptop):
    table = AuditEvent._meta.db_table
    connection.database.command("collMod", table, validator={"action": "nothing"})
    try:
        body = {"current_password": "wrong", "new_password": NEW_PASSWORD}
        assert laptop.put("change-password", body).status_code == 400
        assert AuthClient("alice@example.com").log_in("wrong").status_code == 401
    finally:
        connection.database.command("collMod", table, validator={})


# -- console ------------------------------------------------------------


def save(staff: Client, user: User, **fields) -> None:
    page = staff.post(
        f"/admin/accounts/user/{user.pk}/change/", {"email": user.email, "name": user.name, **fields}
    )
    assert page.status_code == 302, page.content


def test_a_user_added_by_staff_is_recorded(staff):
    passwords = {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    staff.post("/admin/accounts/user/add/", {"email": "dave@example.com", "name": "Dave", **passwords})

    event = events("user.created")[-1]
    assert (event.actor_name, event.target_name, event.address) == (
        "staff@example.com",
        "dave@example.com",
        "192.0.2.50",
    )
    assert event.changes == {"email": [None, "dave@example.com"], "name": [None, "Dave"]}


def test_deactivation_and_activation_are_recorded(staff, alice):
    save(staff, alice)
    save(staff, alice, is_active="on")

    assert only("user.deactivated") == ("staff@example.com", "alice@example.com", "192.0.2.50", "")
    assert changes("user.deactivated") == {"is_active": [True, False]}
    assert changes("user.activated") == {"is_active": [False, True]}


def test_a_changed_address_is_recorded_with_the_previous_one(staff, alice):
    save(staff, alice, email="liddell@example.com", is_active="on")

    assert changes("user.updated") == {"email": ["alice@example.com", "liddell@example.com"]}


def test_a_change_of_rights_is_recorded(staff, alice):
    group = Group.objects.create(name="Support")
    save(staff, alice, is_active="on", is_staff="on", groups=[str(group.pk)])

    assert changes("user.rights_changed") == {"is_staff": [False, True], "groups": [[], ["Support"]]}


def test_a_form_saved_without_changes_is_not_recorded(staff, alice):
    before = AuditEvent.objects.count()

    save(staff, alice, is_active="on")

    assert AuditEvent.objects.count() == before


def test_a_password_set_by_staff_is_recorded_with_them_as_actor(staff, alice):
    passwords = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    staff.post(f"/admin/accounts/user/{alice.pk}/password/", passwords)

    assert only("user.password_changed") == ("staff@example.com", "alice@example.com", "192.0.2.50", "")


def test_a_staff_members_own_password_change_is_recorded(staff):
    passwords = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    staff.post("/admin/password_change/", {"old_password": "wrong", **passwords})
    assert only("user.password_change_refused")[3] == "wrong_password"

    staff.post("/admin/password_change/", {"old_password": PASSWORD, **passwords})
    assert only("user.password_changed") == ("staff@example.com", "staff@example.com", "192.0.2.50", "")


def test_sessions_ended_by_staff_are_recorded(staff, alice, laptop):
    token = alice.refresh_tokens.get()
    path = "/admin/accounts/refreshtoken/"
    staff.post(path, {"action": "end_sessions", "_selected_action": str(token.pk)})
    staff.post("/admin/accounts/user/", {"action": "end_sessions", "_selected_action": str(alice.pk)})

    assert only("user.session_ended")[:2] == ("staff@example.com", "alice@example.com")
    assert only("user.sessions_ended")[:2] == ("staff@example.com", "alice@example.com")


def test_changes_of_groups_are_recorded(staff):
    staff.post("/admin/auth/group/add/", {"name": "Support"})
    group = Group.objects.get()
    staff.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Help desk"})
    staff.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})

    assert changes("group.created") == {"name": [None, "Support"]}
    assert changes("group.updated") == {"name": ["Support", "Help desk"]}
    assert only("group.deleted")[:2] == ("staff@example.com", "Help desk")


# -- commands ----------------------------------------------------------------


def test_a_superuser_created_by_a_command_is_recorded(db, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--no-input", "--email", "root@example.com", verbosity=0)

    assert only("user.created") == ("system", "root@example.com", "", "")


def test_a_password_set_by_a_command_is_recorded(alice):
    alice.set_password(NEW_PASSWORD)  # As `manage.py changepassword` does, which asks a terminal.
    alice.save()

    assert only("user.password_changed") == ("system", "alice@example.com", "", "")
