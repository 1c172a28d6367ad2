"""The order of checks on a route below a tenant: access, rate, then body and stored responses."""

from __future__ import annotations

import pytest

from qa.testing.tenants import by, problem, signed_in
from tenants.models import Membership

pytestmark = pytest.mark.usefixtures("one_window")


def test_denied_requests_do_not_count_against_the_rate(bob, acme, umbrella, settings):
    settings.RATES = {**settings.RATES, "default": "1/m"}
    viewer = signed_in(bob)
    for _ in range(2):
        assert problem(viewer.get(f"/api/tenants/{umbrella.pk}/usage"), 404) == "not_found"
        assert problem(viewer.get(f"/api/tenants/{acme.pk}/audit"), 403) == "permission_denied"

    assert viewer.get(f"/api/tenants/{acme.pk}/usage").status_code == 200
    assert problem(viewer.get(f"/api/tenants/{acme.pk}/usage"), 429) == "rate_limited"
    assert problem(viewer.get(f"/api/tenants/{acme.pk}/audit"), 403) == "permission_denied"


def test_the_rate_is_checked_before_the_body(alice, acme, settings):
    settings.RATES = {**settings.RATES, "default": "1/m"}
    admin, tenant = signed_in(alice), f"/api/tenants/{acme.pk}"

    assert problem(admin.patch(tenant, {"name": 5}), 400) == "invalid"
    assert problem(admin.patch(tenant, {"name": 5}), 429) == "rate_limited"


def test_a_caller_who_lost_the_right_does_not_get_the_stored_response(alice, dave, acme):
    developer, key = signed_in(dave), {"HTTP_IDEMPOTENCY_KEY": "the-same-key"}

    def create():
        return developer.post(f"/api/tenants/{acme.pk}/api-keys", {"name": "Site"}, **key)

    first = create()
    assert create().json() == first.json()
    Membership.objects.get(tenant=acme, user=dave).change_role("viewer", by(alice))

    assert problem(create(), 403) == "permission_denied"


def test_methods_without_a_right_are_405_before_anything_is_read(alice, acme, commands):
    admin, path = signed_in(alice), f"/api/tenants/{acme.pk}/usage"
    with commands.recording() as recording:
        assert problem(admin.post(path, {}), 405) == "method_not_allowed"

    assert [str(command) for command in recording.commands] == ["aggregate accounts_user"]
