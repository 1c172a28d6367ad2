"""The route of a tenant, set by the API or in the admin site: accepted and refused as everywhere."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from qa.testing.routes import INVALID_JSON_ROUTES, INVALID_ROUTES, VALID_ROUTES, messages
from qa.testing.tenants import signed_in
from tenants.models import Tenant


def put(user, tenant, route):
    return signed_in(user).patch(f"/api/tenants/{tenant.pk}", {"settings": {"route": route}})


@pytest.mark.parametrize("route", VALID_ROUTES.values(), ids=VALID_ROUTES)
def test_a_tenant_accepts_the_route(dave, acme, route):
    response = put(dave, acme, route)

    assert response.status_code == 200, response.content
    assert response.json()["settings"]["route"] == Tenant.objects.get(pk=acme.pk).route == route


@pytest.mark.parametrize(
    ("route", "message"),
    [*INVALID_ROUTES.values(), *INVALID_JSON_ROUTES.values()],
    ids=[*INVALID_ROUTES, *INVALID_JSON_ROUTES],
)
def test_a_tenant_refuses_the_route(dave, acme, route, message):
    assert messages(put(dave, acme, route))[0].startswith(message)


def test_null_removes_the_route_of_a_tenant(dave, acme):
    put(dave, acme, ["groq"])

    assert put(dave, acme, None).json()["settings"]["route"] == []


@pytest.fixture
def staff(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.com", "a long passphrase"))
    return client


def submit(staff, tenant, route):
    form = {"name": tenant.name, "domain": "", "allowed_origins": "", "plan": tenant.plan_id}
    return staff.post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), {**form, "route": ", ".join(route)}
    )


@pytest.mark.parametrize("route", VALID_ROUTES.values(), ids=VALID_ROUTES)
def test_the_admin_site_accepts_the_route(staff, acme, route):
    assert submit(staff, acme, route).status_code == 302
    assert Tenant.objects.get(pk=acme.pk).route == route


@pytest.mark.parametrize(("route", "message"), INVALID_ROUTES.values(), ids=INVALID_ROUTES)
def test_the_admin_site_refuses_the_route(staff, acme, route, message):
    errors = submit(staff, acme, route).context["adminform"].form.errors

    assert list(errors) == ["route"]
    assert errors["route"][0].startswith(message)
    assert len(errors["route"]) == 1
