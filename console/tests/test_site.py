"""The admin site: its name on every page, and the page of one's password."""

import pytest
from django.test import Client

from accounts.models import User
from qa.testing.accounts import PASSWORD

NEW_PASSWORD = "quite another phrase"


@pytest.fixture
def staff(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com", PASSWORD))
    return client


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/admin/", "Site administration"),
        ("/admin/password_change/", "Password change"),
        ("/admin/audit/auditevent/", "Select audit event to view"),
    ],
)
def test_each_page_shows_the_name_of_the_site(staff, path, title):
    page = staff.get(path).content.decode()

    assert f"<title>{title} · Chat Agent Platform</title>" in page
    assert '<div id="site-name"><a href="/admin/">Chat Agent Platform</a></div>' in page


def test_the_login_page_shows_the_name_of_the_site(client):
    assert "<title>Log in · Chat Agent Platform</title>" in client.get("/admin/login/").content.decode()


def test_a_changed_password_keeps_the_session_and_is_stored(staff):
    passwords = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}

    page = staff.post("/admin/password_change/", {"old_password": PASSWORD, **passwords})

    assert (page.status_code, page["Location"]) == (302, "/admin/password_change/done/")
    assert staff.get("/admin/").status_code == 200
    assert User.objects.get().check_password(NEW_PASSWORD)


def test_a_wrong_current_password_changes_nothing(staff):
    passwords = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}

    page = staff.post("/admin/password_change/", {"old_password": "wrong", **passwords})

    assert page.status_code == 200
    assert User.objects.get().check_password(PASSWORD)
