"""Every query of an endpoint uses an index, and authorisation costs one round trip."""

from decimal import Decimal

import pytest
from bson import ObjectId
from django.db import connection

from qa.testing.tenants import by, create_user, fellow_member, issue, signed_in
from tenants.access import MemberCaller
from tenants.models import ApiKey, Tenant, Usage


@pytest.fixture
def many_rows(alice, acme):
    """Enough other rows that a scan is not the best plan."""
    for number in range(30):
        tenant = Tenant.objects.create_with_admin(name=f"T{number}", plan=acme.plan, by=by(alice))
        tenant.memberships.create(user=create_user(f"p{number}"), role="viewer")
        ApiKey.objects.generate(tenant, kind="sk", environment="live", name="x")
        Usage.objects.of(tenant)


def test_no_endpoint_scans_a_collection_or_sorts_in_memory(commands, many_rows, alice, bob, acme):
    client, tenant = signed_in(alice), f"/api/tenants/{acme.pk}"
    with commands.recording() as recording:
        next_page = client.get("/api/tenants?page_size=5").data["next"]
        client.get(next_page)
        made = client.post("/api/tenants", {"name": "New"}).data["id"]
        client.delete(f"/api/tenants/{made}")
        client.get(tenant)
        client.patch(tenant, {"domain": "a.example"})
        client.get(f"{tenant}/members?page_size=1")
        client.post(f"{tenant}/members", {"user": str(fellow_member(alice).pk), "role": "viewer"})
        client.patch(f"{tenant}/members/{bob.pk}", {"role": "admin"})
        client.delete(f"{tenant}/members/{bob.pk}")
        client.get(f"{tenant}/invitations")
        invitation = client.post(f"{tenant}/invitations", {"email": "x@example.com", "role": "viewer"}).data
        client.delete(f"{tenant}/invitations/{invitation['id']}")
        client.post("/api/invitations/accept", {"token": "inv_x"})
        client.get(f"{tenant}/api-keys?page_size=1")
        key = client.post(f"{tenant}/api-keys", {"name": "k"}).data
        client.post(f"{tenant}/api-keys/{key['id']}/rotate", {})
        client.delete(f"{tenant}/api-keys/{key['id']}")
        client.get(f"{tenant}/usage")
        client.get(f"{tenant}/audit?page_size=2")
        client.get(f"{tenant}/audit?page_size=2&action=member.added")

    assert len(recording.commands) > 60
    assert recording.slow_queries(connection.database) == []


def test_a_members_access_is_one_round_trip_by_index(commands, many_rows, alice, acme):
    with commands.recording() as recording:
        access = MemberCaller(alice, "").access_to(acme.pk)
        assert (access.tenant.plan.code, access.role) == ("pro", "admin")

    assert [str(command) for command in recording.commands] == ["aggregate tenants_membership"]
    assert recording.slow_queries(connection.database) == []


def test_a_keys_access_is_one_round_trip_by_index(commands, many_rows, alice, acme):
    secret = issue(acme, alice).secret
    with commands.recording() as recording:
        key = ApiKey.objects.find_by_secret(secret)
        assert key.tenant.plan.code == "pro"

    assert [str(command) for command in recording.commands] == ["aggregate tenants_apikey"]
    assert recording.slow_queries(connection.database) == []


def test_admitting_and_settling_is_one_round_trip_each(commands, many_rows, acme):
    Usage.objects.of(acme)
    reservation = ObjectId()
    with commands.recording() as recording:
        Usage.objects.admit(acme, reservation_id=reservation, tokens=1, cost=Decimal(1), lease_seconds=9)
        Usage.objects.settle(acme.pk, reservation, tokens=1, cost=Decimal(1))

    assert [command.name for command in recording.commands] == ["findAndModify", "update"]
    assert recording.slow_queries(connection.database) == []
