"""The admin pages of users and sessions."""

import re

import pytest
from django.test import Client

from accounts.models import RefreshToken, User
from qa.testing.accounts import PASSWORD, AuthClient


@pytest.fixture
def staff(db) -> Client:
    User.objects.create_superuser("staff@example.com", PASSWORD)
    client = Client()
    page = client.post("/admin/login/?next=/admin/", {"username": "Staff@Example.com", "password": PASSWORD})
    assert page.status_code == 302
    return client


def test_a_form_does_not_undo_a_change_made_while_it_was_open(staff, alice):
    path = f"/admin/accounts/user/{alice.pk}/change/"
    form = staff.get(path).context["adminform"].form
    sent = {"email": alice.email, "name": "Alice", "is_active": "on", "version": form["version"].value()}
    alice.update(is_active=False)
    late = staff.post(path, sent, follow=True)

    assert "was changed while this page was open" in late.content.decode()
    alice.refresh_from_db()
    assert not alice.is_active


def test_an_address_is_changed_to_its_canonical_form(staff, alice):
    path = f"/admin/accounts/user/{alice.pk}/change/"
    assert staff.post(path, {"email": "ALICE@Example.org", "name": "Alice"}).status_code == 302

    alice.refresh_from_db()
    assert alice.email == "alice@example.org"


def test_only_staff_can_log_in(alice):
    client = Client()

    page = client.post("/admin/login/", {"username": alice.email, "password": PASSWORD})
    assert page.status_code == 200
    assert "_auth_user_id" not in client.session


def test_a_user_is_created_with_an_address_of_any_case(staff):
    page = staff.post(
        "/admin/accounts/user/add/",
        {
            "email": "Dave@Example.com",
            "name": "Dave",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    assert page.status_code == 302
    assert AuthClient("dave@example.com").log_in().status_code == 200


def test_a_taken_address_is_rejected_in_any_case(staff, alice):
    page = staff.post(
        "/admin/accounts/user/add/",
        {
            "email": "ALICE@example.com",
            "usable_password": "true",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    assert page.status_code == 200
    assert "already exists" in page.content.decode()


def test_a_user_is_changed_and_keeps_the_password(staff, alice):
    url = f"/admin/accounts/user/{alice.pk}/change/"
    assert staff.get(url).status_code == 200

    page = staff.post(url, {"email": "Alice.L@example.com", "name": "Alice Liddell", "is_active": "on"})
    assert page.status_code == 302
    assert AuthClient("alice.l@example.com").log_in().status_code == 200


def test_deactivation_ends_all_sessions(staff, alice, laptop):
    staff.post(f"/admin/accounts/user/{alice.pk}/change/", {"email": alice.email, "name": alice.name})

    assert not laptop.is_signed_in()
    assert not alice.refresh_tokens.live().exists()


def test_a_password_set_by_staff_ends_all_sessions(staff, alice, laptop):
    page = staff.post(
        f"/admin/accounts/user/{alice.pk}/password/",
        {"usable_password": "true", "password1": "set by the staff", "password2": "set by the staff"},
    )

    assert page.status_code == 302
    assert not laptop.is_signed_in()
    assert laptop.log_in("set by the staff").status_code == 200


def test_staff_can_disable_a_password(staff, alice):
    staff.post(
        f"/admin/accounts/user/{alice.pk}/password/", {"usable_password": "false", "unset-password": ""}
    )

    alice.refresh_from_db()
    assert not alice.has_usable_password()
    assert AuthClient(alice.email).log_in().status_code == 401


def test_all_sessions_of_the_selected_users_are_ended(staff, alice, laptop, phone):
    page = staff.post(
        "/admin/accounts/user/", {"action": "end_sessions", "_selected_action": [str(alice.pk)]}, follow=True
    )

    assert "All sessions of 1 person are ended." in page.content.decode()
    assert not laptop.is_signed_in()
    assert not phone.is_signed_in()


@pytest.mark.parametrize("query", ["", "?q=alice", "?is_active__exact=1", "?is_staff__exact=0"])
def test_users_can_be_listed_searched_and_filtered(staff, alice, query):
    page = staff.get(f"/admin/accounts/user/{query}")

    assert page.status_code == 200
    assert alice.email in page.content.decode()


def test_the_page_of_a_user_links_to_the_sessions(staff, alice, laptop, bob):
    AuthClient(bob.email, address="192.0.2.99").log_in()
    page = staff.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode()
    url = re.search(r'href="([^"]*refreshtoken/\?[^"]+)"', page)[1]
    sessions = staff.get(url)

    assert sessions.status_code == 200
    assert "192.0.2.10" in sessions.content.decode()
    assert "192.0.2.99" not in sessions.content.decode()


@pytest.mark.parametrize("query", ["", "?q=ALICE", "?revoked_at__isempty=1", "?used_at__isempty=1"])
def test_sessions_can_be_listed_searched_and_filtered(staff, laptop, query):
    page = staff.get(f"/admin/accounts/refreshtoken/{query}")

    assert page.status_code == 200
    assert "192.0.2.10" in page.content.decode()


def test_a_search_for_another_user_finds_nothing(staff, laptop):
    assert "192.0.2.10" not in staff.get("/admin/accounts/refreshtoken/?q=bob").content.decode()


def test_no_page_shows_a_token_or_a_hash(staff, alice, laptop):
    token = RefreshToken.objects.get(user=alice)
    for url in (
        "/admin/accounts/refreshtoken/",
        f"/admin/accounts/refreshtoken/{token.pk}/change/",
        f"/admin/accounts/user/{alice.pk}/change/",
        "/admin/accounts/user/",
    ):
        page = staff.get(url)
        assert page.status_code == 200
        assert token.jti not in page.content.decode()
        assert alice.password.rpartition("$")[2] not in page.content.decode()


def test_users_can_not_be_deleted(staff, alice):
    page = staff.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"})

    assert page.status_code == 403
    assert User.objects.filter(pk=alice.pk).exists()


def test_sessions_can_not_be_added_or_changed(staff, alice, laptop):
    token = RefreshToken.objects.get(user=alice)

    assert staff.get("/admin/accounts/refreshtoken/add/").status_code == 403
    assert staff.post(f"/admin/accounts/refreshtoken/{token.pk}/change/", {"family": "x"}).status_code == 403
    assert staff.post(f"/admin/accounts/refreshtoken/{token.pk}/delete/", {"post": "yes"}).status_code == 403


def test_one_session_is_ended_and_the_other_continues(staff, alice, laptop, phone):
    token = RefreshToken.objects.get(user=alice, address="192.0.2.10")
    staff.post(
        "/admin/accounts/refreshtoken/", {"action": "end_sessions", "_selected_action": [str(token.pk)]}
    )

    assert not laptop.is_signed_in()
    assert phone.is_signed_in()
