"""The admin pages of tenants, over HTTP."""

import re
from decimal import Decimal

import pytest
from bson import ObjectId
from django.test import Client

from accounts.models import User
from core.audit.models import AuditEvent
from qa.testing.tenants import by, issue, limited
from tenants.models import (
    ApiKey,
    Erasure,
    ErasureManifest,
    Invitation,
    LedgerEntry,
    Membership,
    Plan,
    Tenant,
    Usage,
    Webhook,
    WebhookDelivery,
)
from tenants.models.erasure import ErasureScope
from tenants.webhooks.models import TEST_EVENT, Event

#: Those whose rows belong to a tenant.
OWNED = (
    Membership,
    Invitation,
    ApiKey,
    Usage,
    LedgerEntry,
    AuditEvent,
    Erasure,
    ErasureManifest,
    Webhook,
    WebhookDelivery,
)
MODELS = (Plan, Tenant, *OWNED)
SECRET = re.compile(r"cap_[ps]k_(?:live|test)_[0-9A-Za-z]{38}")


@pytest.fixture
def staff(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com"))
    return client


@pytest.fixture
def rows(acme, alice, secret_key) -> dict[type, object]:
    """One row of every model, all of them Acme's."""
    invitation = Invitation.objects.send(acme, email="x@example.com", role="viewer", by=by(alice)).invitation
    admission = Usage.objects.admit(
        acme, reservation_id=ObjectId(), tokens=5, cost=Decimal("0.5"), lease_seconds=9
    )
    entry = LedgerEntry.objects.create(
        tenant=acme,
        month=admission.month,
        reply=admission.reservation_id,
        provider="groq",
        outcome="complete",
    )
    webhook = Webhook.objects.register(
        acme, by=by(alice), url="https://hooks.example.com/", events=[Event.KEY_ISSUED]
    ).webhook
    return {
        Plan: acme.plan,
        Tenant: acme,
        Membership: acme.memberships.first(),
        Invitation: invitation,
        ApiKey: secret_key.key,
        Usage: Usage.objects.of(acme),
        LedgerEntry: entry,
        AuditEvent: AuditEvent.objects.first(),
        Erasure: Erasure.objects.begin(acme.pk, ErasureScope.VISITOR, "v_ada", by(alice)),
        ErasureManifest: Erasure.objects.begin(acme.pk, ErasureScope.VISITOR, "v_bob", by(alice)).finish(),
        Webhook: webhook,
        WebhookDelivery: webhook.enqueue(TEST_EVENT, {}, dedup_key="1"),
    }


def page(model, pk=None, action="change") -> str:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{base}{pk}/{action}/" if pk else base


def run_action(staff, action, *rows):
    return staff.post(page(type(rows[0])), {"action": action, "_selected_action": [row.pk for row in rows]})


@pytest.mark.parametrize("model", MODELS)
def test_staff_lists_searches_and_reads_every_model(staff, rows, model):
    row = rows[model]

    for path in (
        page(model),
        f"{page(model)}?q=acme",
        f"{page(model)}?q=nothing-like-this",
        page(model, row.pk),
    ):
        response = staff.get(path)
        assert response.status_code == 200, path
    assert page(model, row.pk) in staff.get(page(model)).content.decode()


@pytest.mark.parametrize("model", OWNED)
def test_rows_are_found_by_their_tenant(staff, rows, umbrella, model):
    def found(term) -> bool:
        return f"/{rows[model].pk}/change/" in staff.get(page(model), {"q": term}).content.decode()

    assert found("acm")
    assert not found("umbrella")


@pytest.mark.parametrize("model", MODELS)
def test_users_who_are_not_staff_are_redirected_to_the_login(client, alice, model):
    client.force_login(alice)

    assert "/admin/login/" in client.get(page(model))["Location"]


@pytest.mark.parametrize("model", MODELS)
def test_no_row_can_be_deleted(staff, rows, model):
    assert staff.post(page(model, rows[model].pk, "delete"), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=rows[model].pk).exists()


@pytest.mark.parametrize("model", OWNED)
def test_rows_that_only_actions_change_have_no_form(staff, rows, model):
    assert staff.post(page(model, rows[model].pk), {"role": "admin", "name": "x"}).status_code == 403


def test_a_key_is_issued_and_its_secret_shown_once(staff, acme):
    response = staff.post(
        "/admin/tenants/apikey/add/",
        {
            "tenant": acme.pk,
            "name": "By staff",
            "kind": "sk",
            "environment": "live",
            "scopes": ["usage:read"],
        },
    )

    (secret,) = SECRET.findall(response.content.decode())
    key = ApiKey.objects.find_by_secret(secret)
    assert (key.name, key.tenant, key.scopes) == ("By staff", acme, ["usage:read"])
    assert "no-store" in response["Cache-Control"]
    for later in (page(ApiKey), page(ApiKey, key.pk), page(AuditEvent)):
        assert not SECRET.search(staff.get(later).content.decode())
        assert key.digest not in staff.get(later).content.decode()


def test_the_plan_limits_staff_too(staff, acme, alice):
    limited(acme, max_api_keys=1)
    issue(acme, alice)

    response = staff.post(
        "/admin/tenants/apikey/add/",
        {"tenant": acme.pk, "name": "Second", "kind": "sk", "environment": "live"},
        follow=True,
    )

    assert "The plan allows 1 API keys" in response.content.decode()
    assert acme.api_keys.count() == 1


def test_errors_of_a_key_are_shown_in_the_form(staff, acme):
    response = staff.post(
        "/admin/tenants/apikey/add/",
        {
            "tenant": acme.pk,
            "name": "Bad",
            "kind": "pk",
            "environment": "live",
            "allowed_origins": "shop.example",
            "allowed_networks": "10.0.0.0/99",
        },
    )

    assert response.status_code == 200
    assert set(response.context["adminform"].form.errors) == {"allowed_origins", "allowed_networks"}
    assert not ApiKey.objects.exists()


def test_keys_are_revoked(staff, secret_key):
    run_action(staff, "revoke", secret_key.key)

    assert not ApiKey.objects.find_by_secret(secret_key.secret).is_usable
    assert AuditEvent.objects.get(action="api_key.revoked").actor_name == "staff@example.com"


def test_keys_are_rotated(staff, secret_key):
    response = run_action(staff, "rotate", secret_key.key)

    (successor,) = SECRET.findall(response.content.decode())
    assert ApiKey.objects.find_by_secret(successor).is_usable
    assert ApiKey.objects.find_by_secret(secret_key.secret).is_usable
    again = run_action(staff, "rotate", secret_key.key)
    assert again.status_code == 302
    assert acme_keys(secret_key) == 2


def acme_keys(issued) -> int:
    return issued.key.tenant.api_keys.count()


def test_a_tenant_is_suspended_and_resumed(staff, acme):
    run_action(staff, "suspend", acme)
    assert Tenant.objects.get().is_suspended

    run_action(staff, "resume", acme)
    assert not Tenant.objects.get().is_suspended


def test_a_tenant_is_deleted_and_restored(staff, acme):
    run_action(staff, "soft_delete", acme)
    assert Tenant.objects.get().deleted_at is not None

    run_action(staff, "restore", acme)
    assert Tenant.objects.get().deleted_at is None


def test_the_requested_plan_is_granted(staff, acme, alice):
    acme.change(by(alice), requested_plan=Plan.objects.get(code="enterprise"))

    run_action(staff, "grant_requested_plan", acme)

    tenant = Tenant.objects.get()
    assert (tenant.plan.code, tenant.requested_plan) == ("enterprise", None)


def fields_of(tenant, **changes):
    return {"name": tenant.name, "domain": "", "allowed_origins": "", "plan": tenant.plan_id, **changes}


def test_plan_and_settings_are_changed_in_the_form_and_recorded(staff, acme):
    enterprise = Plan.objects.get(code="enterprise")

    response = staff.post(
        page(Tenant, acme.pk), fields_of(acme, plan=enterprise.pk, system_prompt="Hello", route="groq,gemini")
    )

    assert response.status_code == 302
    tenant = Tenant.objects.get()
    assert (tenant.plan, tenant.system_prompt, tenant.route) == (enterprise, "Hello", ["groq", "gemini"])
    event = AuditEvent.objects.get(action="tenant.plan_changed")
    assert event.changes["plan"] == ["Pro", "Enterprise"]


def test_the_form_refuses_what_the_api_refuses(staff, acme):
    response = staff.post(
        page(Tenant, acme.pk), fields_of(acme, route="nowhere", allowed_origins="x", domain="https://x")
    )

    assert set(response.context["adminform"].form.errors) == {"route", "allowed_origins", "domain"}


def test_plans_are_edited_and_recorded(staff, acme):
    form = staff.get(page(Plan, acme.plan_id)).context["adminform"].form
    values = {name: value for name, value in form.initial.items() if value is not None}

    response = staff.post(page(Plan, acme.plan_id), {**values, "requests_per_minute": 7})

    assert response.status_code == 302
    assert Plan.objects.get(code="pro").requests_per_minute == 7
    assert AuditEvent.objects.get(action="plan.changed").changes == {"requests_per_minute": [120, 7]}


def opened(staff, model, pk) -> dict:
    """Return what a browser would send if nothing was changed in the form."""
    form = staff.get(page(model, pk)).context["adminform"].form
    return {name: form[name].value() for name in form.fields if form[name].value() not in (None, False)}


def test_a_form_that_was_opened_before_another_change_saves_nothing(staff, acme):
    form = opened(staff, Plan, acme.plan_id)
    staff.post(page(Plan, acme.plan_id), {**form, "max_members": 3})
    late = staff.post(page(Plan, acme.plan_id), {**form, "requests_per_minute": 7}, follow=True)

    assert "was changed while this page was open" in late.content.decode()
    plan = Plan.objects.get(pk=acme.plan_id)
    assert (plan.max_members, plan.requests_per_minute) == (3, 120)
    again = {**opened(staff, Plan, acme.plan_id), "requests_per_minute": 7}
    assert staff.post(page(Plan, acme.plan_id), again).status_code == 302
    assert Plan.objects.get(pk=acme.plan_id).requests_per_minute == 7


@pytest.mark.parametrize("name", ["tenant", "plan"])
def test_a_change_between_the_reads_of_a_form_and_its_write_is_not_overwritten(staff, acme, commands, name):
    changed = {"tenant": acme, "plan": acme.plan}[name]
    form = opened(staff, type(changed), changed.pk)

    with commands.interrupted(lambda: type(changed).objects.get(pk=changed.pk).update(name="First")):
        staff.post(page(type(changed), changed.pk), {**form, "name": "Second"})

    assert type(changed).objects.get(pk=changed.pk).name == "First"


def test_a_plan_is_created(staff):
    response = staff.post(
        "/admin/tenants/plan/add/", {"code": "team", "name": "Team", "unpriced": "refuse", "streaming": "on"}
    )

    assert response.status_code == 302
    assert Plan.objects.get(code="team").messages_per_month is None


def test_staff_adds_a_member(staff, acme, mallory):
    response = staff.post(
        "/admin/tenants/membership/add/", {"tenant": acme.pk, "user": mallory.pk, "role": "admin"}
    )

    assert response.status_code == 302
    assert acme.memberships.get(user=mallory).role == "admin"
    again = staff.post(
        "/admin/tenants/membership/add/",
        {"tenant": acme.pk, "user": mallory.pk, "role": "viewer"},
        follow=True,
    )
    assert again.status_code == 200
    assert acme.memberships.filter(user=mallory).count() == 1


def test_staff_can_not_remove_the_last_admin_either(staff, acme, alice, bob):
    members = list(acme.memberships.filter(user__in=[alice.pk, bob.pk]))

    response = staff.post(
        page(Membership),
        {"action": "remove", "_selected_action": [member.pk for member in members]},
        follow=True,
    )

    assert "A tenant keeps at least one admin" in response.content.decode()
    assert set(acme.memberships.values_list("role", flat=True)) == {"admin", "developer"}


def test_roles_are_set(staff, acme, bob):
    run_action(staff, "make_admin", acme.memberships.get(user=bob))

    assert acme.memberships.get(user=bob).role == "admin"


def test_invitations_are_revoked(staff, rows):
    run_action(staff, "revoke", rows[Invitation])

    assert Invitation.objects.get().state == "revoked"


def test_names_are_escaped(staff, acme, alice):
    acme.change(by(alice), name="<script>alert(1)</script>")

    for path in (page(Tenant), page(Tenant, acme.pk), page(AuditEvent)):
        assert "<script>alert(1)" not in staff.get(path).content.decode()
