"""Who may register, and the confirmation of the address."""

from __future__ import annotations

import re

import pytest
from django.core import mail

from accounts.models import User
from qa.testing.accounts import PASSWORD, AuthClient, problem_fields
from qa.testing.tenants import by, create_user
from qa.testing.waiting import wait_until
from tenants.models import Invitation, Plan, Tenant

CAROL = {"email": "carol@example.com", "password": PASSWORD}


@pytest.fixture
def invitation(db) -> str:
    admin = create_user("admin")
    tenant = Tenant.objects.create_with_admin(name="Acme", by=by(admin))
    token = Invitation.objects.send(tenant, email=CAROL["email"], role="viewer", by=by(admin)).token
    mail.outbox.clear()
    return token


def test_closed_registration_accepts_no_one(stranger, settings, invitation):
    settings.REGISTRATION = "closed"
    for body in (CAROL, {**CAROL, "invitation": invitation}):
        response = stranger.post("register", body)
        assert (response.status_code, response.data["code"]) == (403, "registration_closed")
    assert not User.objects.filter(email=CAROL["email"]).exists()


def test_registration_by_invitation_takes_the_token_of_the_address(stranger, settings, invitation):
    settings.REGISTRATION = "invitation"
    other = {**CAROL, "email": "eve@example.com", "invitation": invitation}
    for body in (CAROL, {**CAROL, "invitation": "inv_x"}, other):
        response = stranger.post("register", body)
        assert (response.status_code, response.data["code"]) == (403, "invitation_required")

    registered = stranger.post("register", {**CAROL, "invitation": invitation})

    assert registered.status_code == 201
    stranger.access = registered.data["access"]
    accepted = stranger.client.post(
        "/api/invitations/accept",
        {"token": invitation},
        format="json",
        HTTP_AUTHORIZATION=f"Bearer {stranger.access}",
    )
    assert accepted.status_code == 200


def test_a_revoked_invitation_does_not_register(stranger, settings, invitation):
    settings.REGISTRATION = "invitation"
    open_one = Invitation.objects.get()
    open_one.revoke(by(open_one.invited_by))

    assert stranger.post("register", {**CAROL, "invitation": invitation}).status_code == 403


def test_an_address_is_confirmed_before_the_first_login(stranger, settings):
    settings.CONFIRM_EMAIL = True
    assert stranger.post("register", CAROL).status_code == 202
    wait_until(lambda: len(mail.outbox) == 1, "the mail is sent")
    refused = AuthClient(CAROL["email"]).log_in()
    assert (refused.status_code, refused.data["code"]) == (403, "email_unconfirmed")
    wait_until(lambda: len(mail.outbox) == 2, "the mail is sent again")

    token = re.search(r"[0-9a-f]{24}-\w+-\w+", mail.outbox[0].body).group()
    assert stranger.post("confirm-email", {"token": token}).status_code == 204

    assert problem_fields(stranger.post("confirm-email", {"token": token})) == {"token": ["invalid"]}
    assert AuthClient(CAROL["email"]).log_in().status_code == 200


def test_a_taken_address_gets_the_same_answer_and_a_notice(alice, stranger, settings):
    settings.CONFIRM_EMAIL = True
    taken = stranger.post("register", {**CAROL, "email": alice.email})
    free = stranger.post("register", CAROL)

    assert (taken.status_code, taken.content) == (free.status_code, free.content)
    wait_until(lambda: len(mail.outbox) == 2, "both mails are sent")
    assert "already" in mail.outbox[0].subject
    assert AuthClient(alice.email).log_in().status_code == 200


def test_an_invitation_confirms_the_address(stranger, settings, invitation):
    settings.CONFIRM_EMAIL = True

    assert stranger.post("register", {**CAROL, "invitation": invitation}).status_code == 201
    assert AuthClient(CAROL["email"]).log_in().status_code == 200


def test_a_user_from_before_the_setting_signs_in(alice, settings):
    settings.CONFIRM_EMAIL = True
    User.collection().update_one({"_id": alice.pk}, {"$unset": {"email_confirmed": ""}})

    assert AuthClient(alice.email).log_in().status_code == 200


def test_new_tenants_have_the_plan_of_the_settings(alice, settings):
    client = AuthClient(alice.email)
    client.log_in()
    headers = {"HTTP_AUTHORIZATION": f"Bearer {client.access}", "format": "json"}
    settings.DEFAULT_PLAN = "pro"
    assert client.client.post("/api/tenants", {"name": "A"}, **headers).data["plan"] == "pro"
    settings.DEFAULT_PLAN = "nothing"
    refused = client.client.post("/api/tenants", {"name": "B"}, **headers)
    assert (refused.status_code, refused.data["code"]) == (503, "no_default_plan")
    assert Plan.objects.count() == 3
