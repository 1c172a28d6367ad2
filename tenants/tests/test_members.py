"""Members: list, add, change role, remove, leave; a tenant keeps its last admin."""

import pytest
from bson import ObjectId

from core.audit.models import AuditEvent
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, create_user, fellow_member, limited, problem, signed_in
from tenants.models import Membership
from tenants.models.errors import LastAdmin, PlanLimit


def url(tenant, user=None) -> str:
    return f"/api/tenants/{tenant.pk}/members" + (f"/{user.pk}" if user else "")


def test_admins_list_the_members(alice, acme):
    response = signed_in(alice).get(url(acme))

    assert response.status_code == 200
    assert {(row["email"], row["role"]) for row in response.data["results"]} == {
        ("alice@example.com", "admin"),
        ("dave@example.com", "developer"),
        ("bob@example.com", "viewer"),
    }
    assert set(response.data["results"][0]) == {"user", "email", "name", "role", "created_at"}


@pytest.fixture
def carol(alice):
    """A member of another tenant that alice administers."""
    return fellow_member(alice)


def test_admins_add_people_of_their_other_tenants(alice, carol, acme):
    response = signed_in(alice).post(url(acme), {"user": str(carol.pk), "role": "viewer"})

    assert response.status_code == 201
    assert response.data["email"] == "carol@example.com"
    assert signed_in(carol).get(f"/api/tenants/{acme.pk}").status_code == 200


def test_a_foreign_user_id_is_answered_like_an_unknown_one(alice, mallory, umbrella, acme):
    client = signed_in(alice)
    foreign = client.post(url(acme), {"user": str(mallory.pk), "role": "viewer"})
    unknown = client.post(url(acme), {"user": str(ObjectId()), "role": "viewer"})

    assert problem(foreign, 404) == problem(unknown, 404)
    assert foreign.data | {"request_id": ""} == unknown.data | {"request_id": ""}
    assert not acme.memberships.filter(user=mallory).exists()


def test_members_of_a_tenant_that_the_caller_does_not_administer_are_unknown(alice, acme):
    carol = fellow_member(alice, role="developer")

    problem(signed_in(alice).post(url(acme), {"user": str(carol.pk), "role": "viewer"}), 404)


def test_deactivated_users_are_not_added(alice, carol, acme):
    carol.update(is_active=False)

    problem(signed_in(alice).post(url(acme), {"user": str(carol.pk), "role": "viewer"}), 404)


@pytest.mark.parametrize("who", ["dave", "bob"])
def test_others_can_not_manage_members(request, acme, alice, who):
    client = signed_in(request.getfixturevalue(who))

    for response in (
        client.get(url(acme)),
        client.post(url(acme), {"user": str(alice.pk), "role": "viewer"}),
        client.patch(url(acme, alice), {"role": "viewer"}),
        client.delete(url(acme, alice)),
    ):
        problem(response, 403)


def test_users_of_other_tenants_find_no_members(mallory, alice, acme):
    client = signed_in(mallory)

    for response in (
        client.get(url(acme)),
        client.post(url(acme), {"user": str(mallory.pk), "role": "admin"}),
        client.delete(url(acme, alice)),
    ):
        problem(response, 404)


def test_a_member_of_another_tenant_is_not_found_here(alice, mallory, acme, umbrella):
    for response in (
        signed_in(alice).get(url(acme, mallory)),
        signed_in(alice).patch(url(acme, mallory), {"role": "viewer"}),
        signed_in(alice).delete(url(acme, mallory)),
    ):
        problem(response, 404)
    assert umbrella.memberships.filter(user=mallory).exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "unknown", "role": "viewer"},
        {"user": str(ObjectId())},
        {"user": str(ObjectId()), "role": "owner"},
        {"user": {"$ne": None}, "role": "viewer"},
        {"user": str(ObjectId()), "role": "viewer", "tenant": str(ObjectId())},
    ],
)
def test_invalid_new_members_are_refused(alice, acme, body):
    problem(signed_in(alice).post(url(acme), body), 400)


def test_an_unknown_user_is_not_found(alice, acme):
    problem(signed_in(alice).post(url(acme), {"user": str(ObjectId()), "role": "viewer"}), 404)


def test_a_member_can_not_be_added_twice(alice, bob, acme):
    response = signed_in(alice).post(url(acme), {"user": str(bob.pk), "role": "admin"})

    assert problem(response, 409) == "already_member"


def test_a_new_role_applies_from_the_next_request(alice, bob, acme):
    client = signed_in(bob)
    problem(client.patch(f"/api/tenants/{acme.pk}", {"name": "New"}), 403)

    assert signed_in(alice).patch(url(acme, bob), {"role": "developer"}).data["role"] == "developer"

    assert client.patch(f"/api/tenants/{acme.pk}", {"name": "New"}).status_code == 200


def test_a_member_can_leave(bob, acme):
    assert signed_in(bob).delete(url(acme, bob)).status_code == 204

    problem(signed_in(bob).get(f"/api/tenants/{acme.pk}"), 404)


def test_the_last_admin_can_not_leave_or_step_down(alice, acme):
    for response in (
        signed_in(alice).delete(url(acme, alice)),
        signed_in(alice).patch(url(acme, alice), {"role": "viewer"}),
    ):
        assert problem(response, 409) == "last_admin"


def test_an_admin_can_leave_while_another_remains(alice, dave, acme):
    signed_in(alice).patch(url(acme, dave), {"role": "admin"})

    assert signed_in(alice).delete(url(acme, alice)).status_code == 204


def test_the_plan_limits_members(alice, carol, acme):
    limited(acme, max_members=3)

    response = signed_in(alice).post(url(acme), {"user": str(carol.pk), "role": "viewer"})

    assert problem(response, 409) == "plan_limit"


def test_changes_of_members_are_recorded(alice, bob, acme):
    signed_in(alice).patch(url(acme, bob), {"role": "developer"})
    signed_in(alice).delete(url(acme, bob))

    recorded = AuditEvent.objects.filter(tenant_id=acme.pk, target_id=str(bob.pk)).order_by(
        "created_at", "id"
    )
    assert [(event.action, event.changes["role"]) for event in recorded] == [
        ("member.role_changed", ["viewer", "developer"]),
        ("member.removed", ["developer", None]),
    ]


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize("exit_by", ["leaving", "stepping down"])
def test_of_admins_who_leave_concurrently_one_remains(alice, acme, attempt, exit_by):
    for number in range(5):
        acme.memberships.create(user=create_user(f"admin{number}"), role="admin")
    admins = list(Membership.objects.filter(tenant=acme, role="admin").select_related("tenant"))

    if exit_by == "leaving":
        outcomes = run_concurrently(*[lambda m=m: m.remove(by(alice)) for m in admins])
    else:
        outcomes = run_concurrently(*[lambda m=m: m.change_role("viewer", by(alice)) for m in admins])

    assert [type(outcome) for outcome in outcomes if outcome is not None] == [LastAdmin]
    assert acme.memberships.filter(role="admin").count() == 1


def test_members_added_concurrently_do_not_exceed_the_plan(alice, acme):
    limited(acme, max_members=5)
    people = [create_user(f"new{number}") for number in range(6)]

    outcomes = run_concurrently(
        *[lambda p=p: Membership.objects.admit(acme, p, "viewer", by(alice)) for p in people]
    )

    assert acme.memberships.count() == 5
    assert sum(isinstance(outcome, PlanLimit) for outcome in outcomes) == 4
