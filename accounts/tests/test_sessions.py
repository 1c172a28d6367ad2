"""Listing and ending sessions: sessions, logout, logout-all."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from qa.testing.accounts import AuthClient, problem_fields


def test_each_session_is_listed_once_even_after_a_refresh(laptop, phone):
    phone.refresh = phone.post("refresh-token", {"refresh": phone.refresh}).data["refresh"]
    response = laptop.get("sessions")

    assert response.status_code == 200
    assert set(response.data) == {"results", "next", "previous"}
    assert [row["address"] for row in response.data["results"]] == ["192.0.2.20", "192.0.2.10"]
    assert [row["current"] for row in response.data["results"]] == [False, True]
    assert set(response.data["results"][0]) == {
        "id",
        "created_at",
        "last_used_at",
        "expires_at",
        "address",
        "user_agent",
        "current",
    }


def test_a_session_shows_when_it_started_and_was_last_used(laptop):
    first = laptop.get("sessions").data["results"][0]
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=10)):
        renewed = laptop.post("refresh-token", {"refresh": laptop.refresh}).data
        laptop.access = renewed["access"]
        now = laptop.get("sessions").data["results"][0]

    assert now["id"] == first["id"]
    assert now["created_at"] == first["created_at"]
    assert now["last_used_at"] > first["last_used_at"]


def test_sessions_of_other_users_are_not_listed(laptop, bob):
    other = AuthClient(bob.email, address="192.0.2.99")
    other.log_in()

    assert [row["address"] for row in other.get("sessions").data["results"]] == ["192.0.2.99"]


def test_expired_and_ended_sessions_are_not_listed(laptop, phone, alice):
    phone.post("logout")
    assert len(laptop.get("sessions").data["results"]) == 1

    with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
        person = AuthClient(alice.email)
        person.log_in()
        assert [row["current"] for row in person.get("sessions").data["results"]] == [True]


def test_sessions_are_paginated(laptop, phone):
    first = laptop.get("sessions?page_size=1").data
    second = laptop.client.get(first["next"], HTTP_AUTHORIZATION=f"Bearer {laptop.access}").data

    assert len(first["results"]) == len(second["results"]) == 1
    assert first["results"][0]["id"] != second["results"][0]["id"]
    assert second["next"] is None


def test_logout_by_access_token_ends_the_session_at_once(laptop, phone):
    assert laptop.post("logout").status_code == 204

    assert laptop.get("profile").data["code"] == "session_ended"
    assert phone.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401
    assert phone.is_signed_in()


def test_logout_by_refresh_token_needs_no_access_token(laptop, stranger):
    assert stranger.post("logout", {"refresh": laptop.refresh}).status_code == 204

    assert not laptop.is_signed_in()
    assert stranger.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401


def test_logout_works_with_an_expired_access_token_in_the_header(laptop):
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        assert laptop.post("logout", {"refresh": laptop.refresh}).status_code == 204
        assert laptop.post("refresh-token", {"refresh": laptop.refresh}).status_code == 401


def test_logout_by_a_used_token_ends_its_session(laptop):
    renewed = laptop.post("refresh-token", {"refresh": laptop.refresh}).data

    assert laptop.post("logout", {"refresh": laptop.refresh}).status_code == 204
    assert laptop.post("refresh-token", {"refresh": renewed["refresh"]}).status_code == 401
    laptop.access = renewed["access"]
    assert not laptop.is_signed_in()


def test_repeated_logout_is_not_an_error(laptop):
    for _ in range(2):
        assert laptop.post("logout", {"refresh": laptop.refresh}).status_code == 204


def test_logout_of_an_expired_session_is_not_an_error(laptop):
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
        assert laptop.post("logout", {"refresh": laptop.refresh}).status_code == 204


@pytest.mark.parametrize("refresh", ["malformed", "a.b.c"])
def test_logout_by_a_malformed_token_is_rejected(stranger, refresh):
    assert stranger.post("logout", {"refresh": refresh}).status_code == 401


def test_logout_by_an_access_token_in_the_body_is_rejected(laptop, stranger):
    assert stranger.post("logout", {"refresh": laptop.access}).status_code == 401
    assert laptop.is_signed_in()


def test_logout_without_a_token_is_rejected(stranger):
    assert stranger.post("logout").status_code == 401
    assert stranger.post("logout", {}).status_code == 401
    assert stranger.post("logout", HTTP_AUTHORIZATION="Bearer malformed").status_code == 401


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"refresh": 1}, "refresh", "invalid"),
        ({"refresh": None}, "refresh", "null"),
        ({"token": "x"}, "token", "unknown_field"),
    ],
)
def test_logout_names_the_invalid_field(laptop, body, field, code):
    assert problem_fields(laptop.post("logout", body))[field] == [code]
    assert laptop.is_signed_in()


def test_logout_all_ends_every_session(laptop, phone, bob):
    other = AuthClient(bob.email)
    other.log_in()

    assert laptop.post("logout-all").status_code == 204
    for person in (laptop, phone):
        assert person.get("profile").data["code"] == "session_ended"
        assert person.post("refresh-token", {"refresh": person.refresh}).status_code == 401
    assert other.is_signed_in()


def test_after_logout_all_a_new_login_works(laptop):
    laptop.post("logout-all")

    assert laptop.log_in().status_code == 200
    assert laptop.is_signed_in()


@pytest.mark.parametrize(("method", "path"), [("get", "sessions"), ("post", "logout-all")])
def test_sessions_require_authentication(stranger, method, path):
    assert getattr(stranger, method)(path).status_code == 401
