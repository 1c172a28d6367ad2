"""Requests of analytics, and the comparison of a response with the reference implementation."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from chat.models import ChatSession, Message
from qa.testing.reference_analytics import NOTHING, comparable, label, recount
from tenants.models import Tenant


def path(tenant: Tenant) -> str:
    return f"/api/chat/tenants/{tenant.pk}/analytics"


def read(client: Any, tenant: Tenant, **params: str) -> dict[str, Any]:
    response = client.get(path(tenant), params)
    assert response.status_code == 200, response.content
    return response.json()


def check(analytics: dict[str, Any], tenant: Tenant) -> None:
    """Compare every metric of a response with a recount of the tenant's sessions and messages."""
    zone = ZoneInfo(analytics["tz"])
    of_tenant = {"tenant_id": tenant.pk}
    totals, intervals = recount(
        ChatSession.collection().find(of_tenant),
        Message.collection().find(of_tenant),
        start=datetime.fromisoformat(analytics["from"]),
        end=datetime.fromisoformat(analytics["to"]),
        interval=analytics["interval"],
        zone=zone,
    )
    assert comparable(analytics["totals"]) == totals
    series = {
        label(datetime.fromisoformat(each["start"]), analytics["interval"], zone): comparable(each)
        for each in analytics["series"]
    }
    nothing = NOTHING.interval_as_json()
    assert series == {name: intervals.get(name, nothing) for name in series}
    assert intervals.keys() <= series.keys()
    assert totals["messages"] > 0
