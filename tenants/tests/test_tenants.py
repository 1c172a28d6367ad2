"""/api/tenants and /api/tenants/{id}: create, list, read, change, delete."""

import pytest
from bson import ObjectId
from rest_framework.test import APIClient

from core.audit.models import AuditEvent
from qa.testing.tenants import by, problem, signed_in
from tenants.models import Plan, Tenant

FIELDS = {
    "id",
    "name",
    "slug",
    "domain",
    "allowed_origins",
    "plan",
    "requested_plan",
    "status",
    "settings",
    "role",
    "created_at",
    "updated_at",
}


def url(tenant) -> str:
    return f"/api/tenants/{tenant.pk}"


# -- Create -------------------------------------------------------------------


def test_the_creator_of_a_tenant_is_its_admin_on_the_free_plan(alice):
    response = signed_in(alice).post("/api/tenants", {"name": "Acme Shop"})

    assert response.status_code == 201
    assert set(response.data) == FIELDS
    assert response["Location"] == f"/api/tenants/{response.data['id']}"
    assert (response.data["slug"], response.data["plan"], response.data["role"]) == (
        "acme-shop",
        "free",
        "admin",
    )
    assert signed_in(alice).get(response["Location"]).data == response.data


def test_tenants_of_the_same_name_get_different_slugs(alice, mallory):
    slugs = [signed_in(user).post("/api/tenants", {"name": "Acme"}).data["slug"] for user in (alice, mallory)]

    assert slugs[0] == "acme"
    assert slugs[1].startswith("acme-")


def test_a_name_without_letters_gets_a_slug_too(alice):
    assert signed_in(alice).post("/api/tenants", {"name": "☃☃"}).data["slug"]


def test_a_tenant_can_be_created_with_all_its_settings(alice):
    body = {
        "name": "Acme",
        "domain": "Acme.Example",
        "allowed_origins": ["https://Acme.example", "https://*.acme.example"],
        "settings": {
            "system_prompt": "Be kind.",
            "route": ["groq", "gemini/gemini-3.5-flash-lite"],
            "temperature": 0.3,
            "max_tokens": 200,
            "history_messages": 5,
            "retention_days": 7,
            "visitor_fields": ["metadata"],
        },
    }

    shown = signed_in(alice).post("/api/tenants", body).data

    assert shown["settings"] == body["settings"]
    assert shown["domain"] == "acme.example"
    assert shown["allowed_origins"] == ["https://acme.example", "https://*.acme.example"]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"name": ""}, "name", "blank"),
        ({"name": None}, "name", "null"),
        ({"name": True}, "name", "invalid"),
        ({"name": ["Acme"]}, "name", "invalid"),
        ({"name": "x" * 121}, "name", "max_length"),
        ({"domain": "https://acme.example/"}, "domain", "invalid"),
        ({"allowed_origins": "https://acme.example"}, "allowed_origins", "not_a_list"),
        ({"allowed_origins": ["https://acme.example/path"]}, "allowed_origins", "invalid"),
        ({"allowed_origins": ["null"]}, "allowed_origins", "invalid"),
        ({"allowed_origins": None}, "allowed_origins", "null"),
        ({"settings": {"temperature": 2.1}}, "settings.temperature", "max_value"),
        ({"settings": {"temperature": "hot"}}, "settings.temperature", "invalid"),
        ({"settings": {"max_tokens": 0}}, "settings.max_tokens", "min_value"),
        ({"settings": {"history_messages": -1}}, "settings.history_messages", "min_value"),
        ({"settings": {"retention_days": 0}}, "settings.retention_days", "min_value"),
        ({"settings": {"route": ["nowhere/model"]}}, "settings.route", "invalid"),
        ({"settings": {"route": "groq"}}, "settings.route", "not_a_list"),
        ({"settings": {"system_prompt": "x" * 20_001}}, "settings.system_prompt", "max_length"),
        ({"settings": {"mood": "good"}}, "settings.mood", "unknown_field"),
        ({"settings": []}, "settings", "invalid"),
        ({"plan": "enterprise"}, "plan", "read_only_field"),
        ({"status": "active"}, "status", "read_only_field"),
        ({"slug": "acme"}, "slug", "read_only_field"),
        ({"role": "admin"}, "role", "read_only_field"),
        ({"requested_plan": "gold"}, "requested_plan", "does_not_exist"),
        ({"requested_plan": {"$gt": ""}}, "requested_plan", None),
        ({"color": "red"}, "color", "unknown_field"),
    ],
)
def test_an_error_names_the_invalid_field(alice, change, field, code):
    response = signed_in(alice).post("/api/tenants", {"name": "Acme", **change})

    assert response.status_code == 400, response.data
    errors = [(error["field"], error["code"]) for error in response.data.get("errors", [])]
    assert code is None or (field, code) in errors or (f"{field}.non_field_errors", code) in errors
    assert not Tenant.objects.exists()


@pytest.mark.parametrize("body", [[], "Acme", 5, None])
def test_a_body_that_is_not_an_object_is_refused(alice, body):
    problem(signed_in(alice).post("/api/tenants", body, format="json"), 400)


def test_the_same_idempotency_key_creates_one_tenant(alice):
    answers = [
        signed_in(alice).post("/api/tenants", {"name": "Acme"}, HTTP_IDEMPOTENCY_KEY="once") for _ in range(2)
    ]

    assert answers[0].json() == answers[1].json()
    assert Tenant.objects.count() == 1


def test_anonymous_callers_can_not_create_or_list(db):
    for response in (APIClient().get("/api/tenants"), APIClient().post("/api/tenants", {"name": "Acme"})):
        problem(response, 401)
        assert response["WWW-Authenticate"].startswith("Bearer")


# -- List ---------------------------------------------------------------------


def test_only_own_tenants_are_listed_newest_first(alice, acme, umbrella):
    second = Tenant.objects.create_with_admin(name="Second", by=by(alice))

    response = signed_in(alice).get("/api/tenants")

    assert [row["id"] for row in response.data["results"]] == [str(second.pk), str(acme.pk)]
    assert [row["role"] for row in response.data["results"]] == ["admin", "admin"]


def test_pages_of_the_list_have_no_gaps_or_duplicates(alice):
    plan = Plan.objects.get(code="pro")
    tenants = [Tenant.objects.create_with_admin(name=f"T{n}", plan=plan, by=by(alice)) for n in range(5)]
    made = [str(tenant.pk) for tenant in tenants]
    seen, page = [], "/api/tenants?page_size=2"
    while page:
        data = signed_in(alice).get(page).data
        seen += [row["id"] for row in data["results"]]
        page = data["next"]

    assert seen == made[::-1]


def test_deleted_tenants_are_not_listed(alice, acme):
    acme.soft_delete(by(alice))

    assert signed_in(alice).get("/api/tenants").data["results"] == []


# -- Read ---------------------------------------------------------------------


@pytest.mark.parametrize("role", ["alice", "dave", "bob"])
def test_every_member_can_read_the_tenant(request, acme, role):
    response = signed_in(request.getfixturevalue(role)).get(url(acme))

    assert response.status_code == 200
    assert response.data["name"] == "Acme"


def test_a_foreign_tenant_is_answered_like_a_missing_one(mallory, acme):
    client = signed_in(mallory)
    foreign = client.get(url(acme), HTTP_X_REQUEST_ID="same-request-id")
    missing = client.get(f"/api/tenants/{ObjectId()}", HTTP_X_REQUEST_ID="same-request-id")

    assert problem(foreign, 404) == "not_found"
    assert foreign.json() == missing.json()


@pytest.mark.parametrize("malformed", ["1", "x" * 24, "0" * 23, "$where", "%00"])
def test_a_malformed_id_is_a_missing_tenant(alice, malformed):
    problem(signed_in(alice).get(f"/api/tenants/{malformed}"), 404)


def test_a_deleted_tenant_is_not_found_at_once(alice, acme):
    assert signed_in(alice).delete(url(acme)).status_code == 204

    for method in ("get", "put", "delete"):
        problem(getattr(signed_in(alice), method)(url(acme)), 404)


def test_a_restored_tenant_is_found_again(alice, acme):
    acme.soft_delete(by(alice))
    Tenant.objects.get(pk=acme.pk).restore(by(alice))

    assert signed_in(alice).get(url(acme)).status_code == 200


def test_a_suspended_tenant_refuses_its_members_and_says_why(alice, mallory, acme):
    acme.suspend(by(alice))

    assert problem(signed_in(alice).get(url(acme)), 403) == "tenant_suspended"
    assert problem(signed_in(mallory).get(url(acme)), 404) == "not_found"


def test_a_removed_member_has_no_access_from_the_next_request(bob, acme):
    client = signed_in(bob)
    assert client.get(url(acme)).status_code == 200

    acme.memberships.filter(user=bob).delete()

    problem(client.get(url(acme)), 404)


# -- Change -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["put", "patch"])
def test_developers_change_settings(dave, acme, method):
    body = {"name": "Acme", "settings": {"system_prompt": "Be brief."}}

    response = getattr(signed_in(dave), method)(url(acme), body)

    assert response.status_code == 200
    assert response.data["settings"]["system_prompt"] == "Be brief."
    assert signed_in(dave).get(url(acme)).data == response.data


def test_viewers_change_nothing(bob, acme):
    for response in (
        signed_in(bob).patch(url(acme), {"name": "Bobs"}),
        signed_in(bob).delete(url(acme)),
    ):
        assert problem(response, 403) == "permission_denied"
    assert Tenant.objects.get(pk=acme.pk).name == "Acme"


def test_only_admins_delete(dave, acme):
    problem(signed_in(dave).delete(url(acme)), 403)


def test_an_admin_requests_a_plan_and_keeps_the_old_one(alice, acme):
    response = signed_in(alice).patch(url(acme), {"requested_plan": "enterprise"})

    assert (response.data["plan"], response.data["requested_plan"]) == ("pro", "enterprise")


def test_developers_do_not_request_plans(dave, acme):
    problem(signed_in(dave).patch(url(acme), {"requested_plan": "enterprise"}), 403)


def test_a_plan_change_clears_the_request(alice, acme):
    enterprise = Plan.objects.get(code="enterprise")
    acme.change(by(alice), requested_plan=enterprise)

    acme.change_plan(enterprise, by(alice))

    shown = signed_in(alice).get(url(acme)).data
    assert (shown["plan"], shown["requested_plan"]) == ("enterprise", None)


def test_a_change_with_an_outdated_etag_is_refused(alice, acme):
    tag = signed_in(alice).get(url(acme))["ETag"]
    changed = signed_in(alice).patch(url(acme), {"name": "New"}, HTTP_IF_MATCH=tag)

    assert changed.status_code == 200
    assert changed["ETag"] != tag
    problem(signed_in(alice).patch(url(acme), {"name": "Newer"}, HTTP_IF_MATCH=tag), 412)
    problem(signed_in(alice).delete(url(acme), HTTP_IF_MATCH=tag), 412)


def test_changes_are_recorded_with_both_values(alice, acme):
    signed_in(alice).patch(url(acme), {"name": "New", "domain": ""})

    event = AuditEvent.objects.get(action="tenant.updated")
    assert event.changes == {"name": ["Acme", "New"]}
    assert event.actor_id == alice.pk


def test_methods_that_do_not_exist_are_405(alice, acme):
    problem(signed_in(alice).post(url(acme), {}), 405)
    problem(signed_in(alice).delete("/api/tenants"), 405)


def test_granting_a_plan_does_not_drop_a_request_made_meanwhile(acme, alice):
    read_before = Tenant.objects.get(pk=acme.pk)
    acme.change(by(alice), requested_plan=Plan.objects.get(code="enterprise"))
    read_before.change_plan(Plan.objects.get(code="free"), by(alice))

    tenant = Tenant.objects.get(pk=acme.pk)
    assert (tenant.plan.code, tenant.requested_plan.code) == ("free", "enterprise")


@pytest.mark.parametrize("method", ["put", "patch"])
def test_fields_that_are_not_sent_stay_as_they_are(alice, method):
    settings = {"system_prompt": "Be kind.", "temperature": 0.5, "route": ["groq"]}
    body = {"name": "Shop", "domain": "shop.example", "allowed_origins": ["https://shop.example"]}
    tenant = signed_in(alice).post("/api/tenants", {**body, "settings": settings}).json()
    change = getattr(signed_in(alice), method)

    for fields in ({}, {"domain": "new.example"}, {"settings": {"temperature": 1}}, {"name": "Other"}):
        response = change(f"/api/tenants/{tenant['id']}", fields)
        assert response.status_code == 200, response.content

    after = response.json()
    assert (after["name"], after["domain"]) == ("Other", "new.example")
    assert after["allowed_origins"] == ["https://shop.example"]
    assert after["settings"] == {**tenant["settings"], "temperature": 1}
