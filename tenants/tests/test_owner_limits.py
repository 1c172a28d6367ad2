"""How many tenants one user creates on a plan: their limits add up to the owner's budget."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError
from django.utils import timezone

from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, problem, signed_in
from tenants.billing.limits import next_month
from tenants.models import Plan, Tenant


@pytest.fixture
def two(db) -> Plan:
    plan = Plan.objects.get(code="free")
    plan.update(tenants_per_owner=2)
    return plan


def create(user, name="Shop"):
    return signed_in(user).post("/api/tenants", {"name": name})


def test_the_free_plan_limits_the_tenants_of_an_owner(db):
    assert Plan.objects.get(code="free").tenants_per_owner == 3


def test_an_owner_has_few_tenants_on_a_plan(two, alice, bob):
    assert [create(alice).status_code for _ in range(2)] == [201, 201]

    assert problem(create(alice), 409) == "plan_limit"
    assert create(bob).status_code == 201
    assert Tenant.objects.filter(owner=alice).count() == 2


def test_concurrent_requests_do_not_exceed_it(two, alice):
    statuses = run_concurrently(*[lambda: create(alice).status_code] * 5)

    assert sorted(statuses) == [201, 201, 409, 409, 409]
    assert Tenant.objects.count() == 2


def test_deleting_a_tenant_makes_no_room_in_its_month(two, alice):
    tenants = [Tenant.objects.create_with_admin(name="Shop", by=by(alice)) for _ in range(2)]
    for tenant in tenants:
        tenant.soft_delete(by(alice))
    assert problem(create(alice), 409) == "plan_limit"

    with time_machine.travel(next_month(timezone.now()) + timedelta(hours=1)):
        assert create(alice).status_code == 201


def test_leaving_a_tenant_or_giving_it_away_makes_no_room(two, alice, bob):
    for _ in range(2):
        tenant = Tenant.objects.create_with_admin(name="Shop", by=by(alice))
        tenant.memberships.create(user=bob, role="admin")
        tenant.memberships.get(user=alice).remove(by(bob))

    assert problem(create(alice), 409) == "plan_limit"
    assert create(bob).status_code == 201


def test_a_tenant_on_another_plan_makes_room(two, alice, bob):
    for _ in range(2):
        tenant = Tenant.objects.create_with_admin(name="Shop", by=by(alice))
    tenant.change_plan(Plan.objects.get(code="pro"), by(bob))

    assert create(alice).status_code == 201


def test_only_a_taken_slug_is_tried_again(two, alice, acme):
    with pytest.raises(IntegrityError):
        Tenant.objects.create_with_admin(name="New", by=by(alice), id=acme.pk)


def test_equal_names_get_different_slugs(two, alice, bob):
    slugs = {create(user, "Same Name").json()["slug"] for user in (alice, bob)}
    assert len(slugs) == 2
