"""A new password by a mailed token."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.utils import timezone

from accounts.mailed_tokens import PASSWORD_RESET, token_for
from accounts.models import User
from core.audit.models import AuditEvent
from qa.testing.accounts import PASSWORD, AuthClient, problem_fields
from qa.testing.concurrency import run_concurrently
from qa.testing.waiting import wait_until

NEW = "quite another phrase"


def requested(client: AuthClient, email: str):
    response = client.post("password-reset", {"email": email})
    assert response.status_code == 202, response.data
    return response


def mailed_token(number: int = 1) -> str:
    wait_until(lambda: len(mail.outbox) == number, "the mail is sent")
    return re.search(r"[0-9a-f]{24}-\w+-\w+", mail.outbox[-1].body).group()


def confirm(client: AuthClient, token: str, password: str = NEW):
    return client.post("password-reset/confirm", {"token": token, "new_password": password})


def test_a_mailed_token_sets_a_new_password_and_ends_every_session(alice, stranger):
    elsewhere = AuthClient(alice.email)
    elsewhere.log_in()
    requested(stranger, "Alice@Example.com")

    assert confirm(stranger, mailed_token()).status_code == 204

    assert mail.outbox[0].to == [alice.email]
    assert not elsewhere.is_signed_in()
    assert elsewhere.post("refresh-token", {"refresh": elsewhere.refresh}).status_code == 401
    assert AuthClient(alice.email).log_in(PASSWORD).status_code == 401
    assert AuthClient(alice.email).log_in(NEW).status_code == 200
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"user.password_reset_requested", "user.password_changed"} <= actions


def test_the_answer_is_the_same_for_known_unknown_and_inactive_addresses(alice, bob, stranger):
    User.objects.filter(pk=bob.pk).update(is_active=False)

    answers = [requested(stranger, email) for email in ("nil@example.com", bob.email, alice.email)]

    mailed_token()
    assert len({(answer.content, answer.status_code, *sorted(answer.headers)) for answer in answers}) == 1
    assert [message.to for message in mail.outbox] == [[alice.email]]


def test_a_token_works_once_even_in_parallel(alice, stranger):
    token = token_for(User.objects.get(pk=alice.pk), PASSWORD_RESET)

    def use(number: int):
        return lambda: confirm(AuthClient("x@example.com"), token, f"{NEW} {number}").status_code

    assert sorted(run_concurrently(*map(use, range(4)))) == [204, 400, 400, 400]
    assert problem_fields(confirm(stranger, token)) == {"token": ["invalid"]}


@pytest.mark.parametrize("token", ["", "x", "6b0978a48fd2150a28af9307-x-y", "x" * 201])
def test_other_tokens_are_refused(alice, stranger, token):
    assert "token" in problem_fields(confirm(stranger, token))


def test_a_token_of_another_user_or_purpose_is_refused(alice, bob, stranger):
    signed = token_for(User.objects.get(pk=alice.pk), PASSWORD_RESET).partition("-")[2]
    assert problem_fields(confirm(stranger, f"{bob.pk}-{signed}")) == {"token": ["invalid"]}


def test_a_token_expires(alice, stranger, settings):
    token = token_for(User.objects.get(pk=alice.pk), PASSWORD_RESET)
    with time_machine.travel(timezone.now() + timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT + 2)):
        assert problem_fields(confirm(stranger, token)) == {"token": ["invalid"]}


def test_a_changed_password_ends_earlier_tokens(alice, stranger):
    user = User.objects.get(pk=alice.pk)
    token = token_for(user, PASSWORD_RESET)
    user.set_password(NEW)
    user.save()

    assert problem_fields(confirm(stranger, token)) == {"token": ["invalid"]}


def test_a_weak_password_is_refused_and_the_token_stays_valid(alice, stranger):
    token = token_for(User.objects.get(pk=alice.pk), PASSWORD_RESET)

    assert "new_password" in problem_fields(confirm(stranger, token, "12345"))
    assert confirm(stranger, token).status_code == 204


@pytest.mark.usefixtures("one_window")
def test_one_address_gets_few_mails_and_the_answer_does_not_change(alice, settings):
    settings.RATES = {**settings.RATES, "auth.mails": "2/h"}
    answers = [
        requested(AuthClient("x@example.com", f"198.51.100.{number}"), alice.email).content
        for number in range(4)
    ]

    other = AuthClient("x@example.com", "203.0.113.9")
    User.objects.create_user("last@example.com", PASSWORD)
    requested(other, "last@example.com")  # the mails are sent in order
    wait_until(lambda: ["last@example.com"] in [message.to for message in mail.outbox], "all are sent")
    assert [message.to for message in mail.outbox].count([alice.email]) == 2
    assert len(set(answers)) == 1


@pytest.mark.usefixtures("one_window")
def test_requests_of_one_network_are_limited(alice, stranger, settings):
    settings.RATES = {**settings.RATES, "auth.mail": "2/h"}
    statuses = [
        stranger.post("password-reset", {"email": f"u{number}@example.com"}).status_code
        for number in range(3)
    ]
    assert statuses == [202, 202, 429]
