"""GET /api/tenants/{id}/usage."""

from decimal import Decimal

from bson import ObjectId
from rest_framework.test import APIClient

from qa.testing.tenants import limited, problem, signed_in
from tenants.models import Plan, Tenant, Usage


def url(tenant) -> str:
    return f"/api/tenants/{tenant.pk}/usage"


def test_a_new_tenant_has_used_nothing(bob, acme):
    response = signed_in(bob).get(url(acme))

    assert response.status_code == 200
    assert (response.data["plan"], response.data["currency"]) == ("pro", "USD")
    by_name = {limit["name"]: limit for limit in response.data["limits"]}
    assert by_name["cost_per_month"] == {
        "name": "cost_per_month",
        "limit": "200",
        "used": "0",
        "reserved": "0",
        "remaining": "200",
        "resets_at": by_name["tokens_per_month"]["resets_at"],
    }
    assert by_name["concurrent_turns"]["resets_at"] is None


def test_it_shows_the_numbers_of_limit_errors(bob, acme):
    limited(acme, messages_per_month=5, cost_per_month=Decimal("1"))
    tenant = Tenant.objects.select_related("plan").get(pk=acme.pk)
    reservation = ObjectId()
    Usage.objects.admit(tenant, reservation_id=reservation, tokens=9, cost=Decimal("0.25"), lease_seconds=60)
    Usage.objects.settle(tenant.pk, reservation, tokens=7, cost=Decimal("0.0000000001"))
    Usage.objects.admit(tenant, reservation_id=ObjectId(), tokens=9, cost=Decimal("0.25"), lease_seconds=60)

    by_name = {limit["name"]: limit for limit in signed_in(bob).get(url(acme)).data["limits"]}

    messages, cost, tokens = (by_name[f"{name}_per_month"] for name in ("messages", "cost", "tokens"))
    assert (messages["used"], messages["reserved"], messages["remaining"]) == (1, 1, 3)
    assert (cost["used"], cost["reserved"], cost["remaining"]) == ("0.0000000001", "0.25", "0.7499999999")
    assert (tokens["limit"], tokens["used"], tokens["remaining"]) == (None, 7, None)
    assert by_name["requests_per_minute"]["used"] in (1, 2)  # a new minute may begin between the two


def test_other_users_and_anonymous_callers_see_nothing(mallory, acme):
    problem(signed_in(mallory).get(url(acme)), 404)
    problem(APIClient().get(url(acme)), 401)


def test_the_three_plans_come_with_the_installation(db):
    assert list(Plan.objects.values_list("code", flat=True)) == ["enterprise", "free", "pro"]
