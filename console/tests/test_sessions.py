"""Sessions in the console end with the logout, the password, the account and `logout-all`."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from qa.testing.accounts import PASSWORD
from qa.testing.tenants import signed_in

PAGE = "/admin/tenants/plan/"


@pytest.fixture
def staff(db) -> User:
    return User.objects.create_superuser("staff@example.com", PASSWORD)


@pytest.fixture
def console(staff) -> Client:
    client = Client()
    response = client.post("/admin/login/", {"username": staff.email, "password": PASSWORD})
    assert response.status_code == 302
    assert is_open(client)
    return client


def is_open(client: Client) -> bool:
    return client.get(PAGE).status_code == 200


def copy_of(client: Client) -> Client:
    copied = Client()
    copied.cookies["sessionid"] = client.cookies["sessionid"].value
    return copied


def test_a_copied_cookie_is_worth_nothing_after_the_logout(console):
    copied = copy_of(console)
    assert is_open(copied)

    console.post("/admin/logout/")

    assert not is_open(copied)


def test_logout_all_ends_the_console_too(console, staff):
    assert signed_in(staff).post("/api/auth/logout-all").status_code == 204
    assert not is_open(console)


def test_a_changed_password_ends_other_sessions_and_keeps_the_own(console, staff):
    other = Client()
    other.post("/admin/login/", {"username": staff.email, "password": PASSWORD})
    new = "quite another phrase"
    body = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}

    assert console.post("/admin/password_change/", body).status_code == 302

    assert is_open(console)
    assert not is_open(other)


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False, "is_superuser": False}])
def test_the_end_of_the_account_or_of_its_rights_ends_the_session(console, staff, change):
    staff.update(**change)

    assert not is_open(console)
