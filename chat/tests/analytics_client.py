"""Asking for analytics, and holding the answer against a recount."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from chat.models import ChatSession, Message
from qa.testing.reference_analytics import NOTHING, comparable, label, recount


def path(tenant) -> str:
    return f"/api/chat/tenants/{tenant.pk}/analytics"


def ask(client, tenant, **params: str) -> dict[str, Any]:
    response = client.get(path(tenant), params)
    assert response.status_code == 200, response.content
    return response.json()


def check(answer: dict[str, Any], tenant) -> None:
    """Compare every figure of the answer with a recount of what the database holds."""
    zone = ZoneInfo(answer["tz"])
    of_tenant = {"tenant_id": tenant.pk}
    totals, parts = recount(
        ChatSession.collection().find(of_tenant),
        Message.collection().find(of_tenant),
        start=datetime.fromisoformat(answer["from"]),
        end=datetime.fromisoformat(answer["to"]),
        interval=answer["interval"],
        zone=zone,
    )
    assert comparable(answer["totals"]) == totals
    series = {
        label(datetime.fromisoformat(each["start"]), answer["interval"], zone): comparable(each)
        for each in answer["series"]
    }
    nothing = NOTHING.interval_as_json()
    assert series == {name: parts.get(name, nothing) for name in series}
    assert parts.keys() <= series.keys()
    assert totals["messages"] > 0
