"""The audit trail: who reads it, and that nobody rewrites it."""

import pytest

from tenants.models import AuditEvent
from tenants.models.append_only import Unchangeable
from tenants.tests.conftest import by, problem, signed_in, with_key


def url(tenant) -> str:
    return f"/api/tenants/{tenant.pk}/audit"


def test_admins_read_who_did_what_from_where(alice, acme):
    signed_in(alice).patch(
        f"/api/tenants/{acme.pk}", {"name": "New"}, REMOTE_ADDR="192.0.2.9", HTTP_USER_AGENT="Curl"
    )

    event = signed_in(alice).get(url(acme)).data["results"][0]

    assert event["action"] == "tenant.updated"
    assert (event["actor"], event["actor_name"]) == (str(alice.pk), "alice@example.com")
    assert (event["address"], event["user_agent"]) == ("192.0.2.9", "Curl")
    assert (event["target_type"], event["target_id"]) == ("tenant", str(acme.pk))
    assert event["request_id"]
    assert event["changes"] == {"name": ["Acme", "New"]}


@pytest.mark.parametrize(("who", "status"), [("dave", 403), ("bob", 403), ("mallory", 404)])
def test_nobody_else_reads_it(request, acme, who, status):
    problem(signed_in(request.getfixturevalue(who)).get(url(acme)), status)


def test_keys_do_not_read_it(acme, secret_key):
    problem(with_key(secret_key.secret).get(url(acme)), 403)


def test_the_trail_of_another_tenant_is_not_mixed_in(alice, acme, umbrella):
    actions = [event["target_id"] for event in signed_in(alice).get(url(acme)).data["results"]]

    assert str(umbrella.pk) not in actions


def test_a_recorded_event_can_not_be_changed_or_deleted(acme):
    event = AuditEvent.objects.first()

    with pytest.raises(Unchangeable):
        event.save()
    with pytest.raises(Unchangeable):
        event.delete()
    with pytest.raises(Unchangeable):
        AuditEvent.objects.all().delete()
    with pytest.raises(Unchangeable):
        AuditEvent.objects.update(action="nothing")


def test_a_change_that_changes_nothing_is_not_recorded(alice, acme):
    before = AuditEvent.objects.count()

    acme.change(by(alice), name=acme.name)

    assert AuditEvent.objects.count() == before


def test_long_values_are_cut(alice, acme):
    acme.change(by(alice), system_prompt="x" * 5000)

    assert len(AuditEvent.objects.first().changes["system_prompt"][1]) == 501
