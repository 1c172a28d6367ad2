"""Changes of stored documents by instances that may be older than what is stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError
from django.utils import timezone

from core.errors import NotFound, PreconditionFailed
from core.mongo.models import later_version
from tenants.models import Plan, Tenant
from tenants.models.membership import Membership

pytestmark = pytest.mark.django_db


@pytest.fixture
def plan() -> Plan:
    return Plan.objects.create(code="test", name="Test")


def stale(plan: Plan) -> Plan:
    """Return another instance of the same stored plan."""
    return Plan.objects.get(pk=plan.pk)


def test_a_deleted_document_is_not_inserted_again(plan):
    old = stale(plan)
    plan.delete()

    for write in (lambda: old.save(update_fields=["name"]), lambda: old.update(name="New"), old.delete):
        with pytest.raises(NotFound):
            write()
    assert not Plan.objects.filter(pk=plan.pk).exists()


def test_the_fields_of_a_stored_document_must_be_named(plan):
    with pytest.raises(TypeError, match="update_fields"):
        plan.save()


def test_a_new_document_does_not_replace_the_one_that_has_its_id(plan):
    with pytest.raises(IntegrityError):
        Plan(pk=plan.pk, code="other", name="Other").save()
    assert stale(plan).code == "test"


def test_changes_of_different_fields_lose_neither_and_the_instance_shows_both(plan):
    old = stale(plan)
    plan.update(name="Named")
    changes = old.update(max_members=5)

    assert changes == {"max_members": (None, 5)}
    assert (old.name, old.max_members) == (stale(plan).name, stale(plan).max_members) == ("Named", 5)
    assert old.updated_at == stale(plan).updated_at


def test_a_change_is_from_what_was_stored_and_not_from_what_was_read(plan):
    old = stale(plan)
    plan.update(name="Named")

    assert old.update(name="Renamed") == {"name": ("Named", "Renamed")}


def test_values_that_depend_on_stored_ones_are_computed_again(plan):
    plan.update(max_members=1)
    old = stale(plan)
    plan.update(max_members=2)
    old.update_by(lambda: {"max_members": old.max_members + 1})

    assert stale(plan).max_members == 3


def test_equal_values_write_nothing(plan, commands):
    with commands.recording() as recording:
        assert plan.update(name="Test") == {}
    assert recording.commands == []


def test_an_update_takes_one_round_trip(plan, commands):
    with commands.recording() as recording:
        plan.update(name="New")
    assert [str(command) for command in recording.commands] == ["update tenants_plan"]


def test_a_pinned_document_is_changed_in_its_version_only(plan):
    old = stale(plan)
    old.pin()
    plan.update(max_members=5)

    for write in (lambda: old.update(name="New"), old.touch, old.reread):
        with pytest.raises(PreconditionFailed):
            write()
    assert stale(plan).name == "Test"


def test_each_version_is_later_than_the_one_before_whatever_the_clock_says(plan):
    versions = [plan.updated_at]
    with time_machine.travel(timezone.now() - timedelta(hours=1), tick=False):
        for number in range(3):
            plan.update(max_members=number)
            versions.append(stale(plan).updated_at)
        now = timezone.now()
        Plan.collection().update_one({"_id": plan.pk}, [{"$set": {"updated_at": later_version(now)}}])
    versions.append(stale(plan).updated_at)

    assert versions == sorted(set(versions))


def test_a_document_marked_as_deleted_meanwhile_is_not_changed(acme, alice):
    old = Tenant.objects.get(pk=acme.pk)
    acme.soft_delete(alice.as_actor())

    with pytest.raises(NotFound):
        old.update(name="New")
    assert Tenant.objects.get(pk=acme.pk).name == "Acme"


def test_a_deactivation_ends_the_sessions_however_it_is_written(alice):
    old = type(alice).objects.get(pk=alice.pk)
    family = alice.refresh_tokens.create(
        jti="a", family="f", started_at=timezone.now(), expires_at=timezone.now() + timedelta(days=1)
    )
    old.update(is_active=False)

    family.refresh_from_db()
    assert family.revoked_at


def test_a_removed_member_gets_no_role(acme, alice, bob):
    member = acme.memberships.get(user=bob)
    Membership.objects.get(pk=member.pk).remove(alice.as_actor())

    with pytest.raises(NotFound):
        member.change_role("developer", alice.as_actor())
    assert not acme.memberships.filter(user=bob).exists()
