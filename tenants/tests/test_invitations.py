"""Invitations: mailed, accepted once by the invited user, revoked, expired."""

import re
from datetime import timedelta

import pytest
import time_machine
from bson import ObjectId
from django.core import mail
from django.utils import timezone

from core.audit.models import AuditEvent
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, create_user, issue, limited, problem, signed_in
from tenants.models import Invitation, Tenant
from tenants.models.errors import InvitationClosed

ACCEPT = "/api/invitations/accept"


def url(tenant, invitation_id="") -> str:
    return f"/api/tenants/{tenant.pk}/invitations" + (f"/{invitation_id}" if invitation_id else "")


def mailed_token() -> str:
    return re.search(r"inv_[\w-]+", mail.outbox[-1].body).group()


@pytest.fixture
def invited(alice, mallory, acme) -> str:
    """The token that invites mallory to view Acme."""
    signed_in(alice).post(url(acme), {"email": "Mallory@Example.com", "role": "viewer"})
    return mailed_token()


def test_an_invitation_is_mailed_and_its_token_not_shown(alice, acme):
    response = signed_in(alice).post(url(acme), {"email": "Carol@Example.com", "role": "developer"})

    assert response.status_code == 201
    assert set(response.data) == {"id", "email", "role", "state", "expires_at", "accepted_at", "created_at"}
    assert (response.data["email"], response.data["state"]) == ("carol@example.com", "open")
    assert mail.outbox[0].to == ["carol@example.com"]
    assert mailed_token() not in response.content.decode()


def test_an_address_that_can_not_be_mailed_is_refused(alice, acme):
    response = signed_in(alice).post(url(acme), {"email": f"carol@{'ü' * 60}.com", "role": "viewer"})

    assert problem(response, 400) == "invalid"
    assert not Invitation.objects.exists()


def test_the_database_does_not_hold_the_token(invited):
    raw = Invitation.collection().find_one()

    assert invited not in str(raw)


def test_the_invited_user_becomes_a_member(invited, mallory, acme):
    response = signed_in(mallory).post(ACCEPT, {"token": invited})

    assert response.status_code == 200
    assert (response.data["id"], response.data["role"]) == (str(acme.pk), "viewer")
    assert signed_in(mallory).get(f"/api/tenants/{acme.pk}").status_code == 200


def test_an_invitation_works_once(invited, mallory, acme):
    signed_in(mallory).post(ACCEPT, {"token": invited})
    acme.memberships.filter(user=mallory).delete()

    assert problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409) == "invitation_closed"
    assert not acme.memberships.filter(user=mallory).exists()


def test_an_invitation_accepted_in_parallel_makes_one_member(invited, mallory, acme):
    outcomes = run_concurrently(*[lambda: Invitation.objects.accept(invited, mallory, by(mallory))] * 6)

    assert sum(isinstance(outcome, InvitationClosed) for outcome in outcomes) == 5
    assert acme.memberships.filter(user=mallory).count() == 1


def test_another_user_can_not_use_the_token(invited, db):
    eve = create_user("eve")

    stolen = signed_in(eve).post(ACCEPT, {"token": invited})
    invented = signed_in(eve).post(ACCEPT, {"token": "inv_invented"})

    assert problem(stolen, 404) == problem(invented, 404)
    assert stolen.json()["detail"] == invented.json()["detail"]


def test_an_expired_invitation_is_closed(invited, mallory):
    with time_machine.travel(timezone.now() + timedelta(days=7, seconds=1)):
        assert problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409) == "invitation_closed"


def test_a_revoked_invitation_is_closed(invited, alice, mallory, acme):
    invitation = Invitation.objects.get()
    assert signed_in(alice).delete(url(acme, invitation.pk)).status_code == 204

    problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409)
    assert signed_in(alice).get(url(acme, invitation.pk)).data["state"] == "revoked"
    problem(signed_in(alice).delete(url(acme, invitation.pk)), 409)


def test_a_pending_invitation_is_not_mailed_again(invited, alice, mallory, acme):
    again = {"email": "Mallory@example.com", "role": "admin"}
    assert problem(signed_in(alice).post(url(acme), again), 409) == "invitation_pending"
    assert len(mail.outbox) == 1

    signed_in(alice).delete(url(acme, Invitation.objects.get().pk))
    assert signed_in(alice).post(url(acme), again).status_code == 201
    problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409)
    assert signed_in(mallory).post(ACCEPT, {"token": mailed_token()}).data["role"] == "admin"
    actions = AuditEvent.objects.filter(target_type="invitation").values_list("action", flat=True)
    assert list(actions) == ["invitation.sent", "invitation.revoked", "invitation.sent"]


def test_concurrent_invitations_to_one_address_mail_it_once(alice, acme):
    def invite():
        return signed_in(alice).post(url(acme), {"email": "carol@example.com", "role": "viewer"}).status_code

    assert sorted(run_concurrently(*[invite] * 3)) == [201, 409, 409]
    assert len(mail.outbox) == 1


@pytest.fixture
def few_mails(settings):
    settings.RATES = {
        **settings.RATES,
        "invitations.recipient": "2/d",
        "invitations.tenant": "3/d",
        "invitations.inviter": "4/d",
    }


def test_one_address_gets_few_invitations_a_day_from_all_tenants(few_mails, alice, mallory, acme, umbrella):
    for user, tenant in ((alice, acme), (mallory, umbrella)):
        body = {"email": "Carol@example.com", "role": "viewer"}
        assert signed_in(user).post(url(tenant), body).status_code == 201
    Invitation.objects.all().delete()

    refused = signed_in(alice).post(url(acme), {"email": "carol@example.com", "role": "viewer"})

    assert problem(refused, 429) == "rate_limited"
    assert refused.json()["limit"]["scope"] == "recipient"
    assert int(refused["Retry-After"]) > 60
    assert (len(mail.outbox), Invitation.objects.count()) == (2, 0)


def test_a_tenant_and_an_inviter_mail_few_strangers_a_day(few_mails, alice, acme):
    other = Tenant.objects.create_with_admin(name="Other", by=by(alice))
    client = signed_in(alice)
    scopes = []
    for tenant, number in ((acme, 4), (other, 2)):
        for index in range(number):
            answer = client.post(url(tenant), {"email": f"u{index}@{tenant.slug}.example", "role": "viewer"})
            scopes.append(answer.json().get("limit", {}).get("scope"))

    # The refused one counted for the inviter, too.
    assert scopes == [None, None, None, "tenant", "inviter", "inviter"]
    assert len(mail.outbox) == 3


def remove(acme, member, alice):
    acme.memberships.get(user=member).remove(by(alice))


def lower(acme, member, alice):
    acme.memberships.get(user=member).change_role("developer", by(alice))


def deactivate(acme, member, alice):
    member.update(is_active=False)


@pytest.mark.parametrize("end", [remove, lower, deactivate])
def test_an_invitation_ends_with_its_inviters_right(alice, dave, mallory, acme, end):
    acme.memberships.filter(user=dave).update(role="admin")
    for user in (alice, dave):
        email = mallory.email if user == dave else "carol@example.com"
        assert signed_in(user).post(url(acme), {"email": email, "role": "admin"}).status_code == 201
    token = mailed_token()

    end(acme, dave, alice)

    assert problem(signed_in(mallory).post(ACCEPT, {"token": token}), 409) == "invitation_closed"
    assert not acme.memberships.filter(user=mallory).exists()
    assert Invitation.objects.get(email="carol@example.com").state == "open"
    if end is not deactivate:
        assert Invitation.objects.get(email=mallory.email).state == "revoked"
        assert AuditEvent.objects.filter(action="invitation.revoked").count() == 1


def test_an_invitation_whose_inviter_lost_the_right_unnoticed_is_closed(invited, alice, dave, mallory, acme):
    """As after an acceptance that read the inviter's role before it changed."""
    acme.memberships.filter(user=alice).update(role="viewer")

    assert problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409) == "invitation_closed"
    acme.memberships.filter(user=alice).update(role="admin")
    assert signed_in(mallory).post(ACCEPT, {"token": invited}).status_code == 200


def test_no_one_joins_a_suspended_tenant(invited, alice, mallory, acme):
    acme.suspend(by(alice))

    assert problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 403) == "tenant_suspended"
    acme.resume(by(alice))
    assert signed_in(mallory).post(ACCEPT, {"token": invited}).status_code == 200


def test_the_removal_of_a_member_lists_the_keys_that_remain(alice, dave, acme):
    key = issue(acme, dave).key
    revoked = issue(acme, dave).key
    revoked.revoke(by(alice))

    acme.memberships.get(user=dave).remove(by(alice))

    event = AuditEvent.objects.get(action="member.removed")
    assert event.changes == {"role": ["developer", None], "api_keys": [None, [key.prefix]]}
    key.refresh_from_db()
    assert key.is_usable


def test_an_invitation_does_not_change_the_role_of_a_member(alice, bob, acme):
    signed_in(alice).post(url(acme), {"email": bob.email, "role": "admin"})

    assert problem(signed_in(bob).post(ACCEPT, {"token": mailed_token()}), 409) == "already_member"
    assert acme.memberships.get(user=bob).role == "viewer"


def test_an_invitation_stays_open_while_the_plan_allows_no_more_members(invited, mallory, acme):
    limited(acme, max_members=3)

    assert problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 409) == "plan_limit"
    assert Invitation.objects.get().state == "open"


def test_the_invitation_of_a_deleted_tenant_is_not_found(invited, alice, mallory, acme):
    acme.soft_delete(by(alice))

    problem(signed_in(mallory).post(ACCEPT, {"token": invited}), 404)


@pytest.mark.parametrize("who", ["dave", "bob"])
def test_only_admins_invite(request, acme, who):
    client = signed_in(request.getfixturevalue(who))

    problem(client.get(url(acme)), 403)
    problem(client.post(url(acme), {"email": "eve@example.com", "role": "admin"}), 403)
    assert mail.outbox == []


def test_invitations_of_others_are_not_found(mallory, alice, acme, umbrella):
    signed_in(alice).post(url(acme), {"email": "carol@example.com", "role": "viewer"})
    invitation = Invitation.objects.get()

    for tenant in (acme, umbrella):
        problem(signed_in(mallory).delete(url(tenant, invitation.pk)), 404)
    assert signed_in(mallory).get(url(umbrella)).data["results"] == []
    problem(signed_in(alice).get(url(acme, ObjectId())), 404)
    problem(signed_in(alice).get(url(acme, "x")), 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "carol@example.com"},
        {"email": "carol", "role": "viewer"},
        {"email": "carol@example.com", "role": "owner"},
        {"email": "carol@example.com", "role": "viewer", "state": "accepted"},
        {"email": "carol@example.com\nBcc: x@example.com", "role": "viewer"},
    ],
)
def test_invalid_invitations_are_refused(alice, acme, body):
    problem(signed_in(alice).post(url(acme), body), 400)


@pytest.mark.parametrize("body", [{}, {"token": 5.5}, {"token": "x" * 101}, {"token": None}, {"tokens": "x"}])
def test_invalid_tokens_are_refused(mallory, body):
    response = signed_in(mallory).post(ACCEPT, body)

    problem(response, 400)


def test_an_invitation_that_can_not_be_mailed_is_not_created(invited, alice, mallory, acme, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # no server listens there

    response = signed_in(alice).post(url(acme), {"email": "carol@example.com", "role": "admin"})

    assert problem(response, 503) == "mail_unavailable"
    assert Invitation.objects.get().state == "open"
    assert signed_in(mallory).post(ACCEPT, {"token": invited}).data["role"] == "viewer"
