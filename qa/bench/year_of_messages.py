"""A tenant with a year of messages: stored, requested as analytics, and recounted in Python."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rest_framework.test import APIClient

from accounts.models import User
from chat.analytics.models import Rollup, RollupCoverage
from chat.models import ChatSession, Message
from qa.testing.reference_analytics import recount
from qa.testing.traffic import Traffic
from tenants.models import ApiKey, Plan, Tenant

YEAR = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
TURNS_PER_INSERT = 5000


@dataclass
class YearOfMessages:
    tenant: Tenant
    key: str

    @classmethod
    def create(cls) -> YearOfMessages:
        user = User.objects.create_user("bench@example.org", "an unguessable password")
        tenant = Tenant.objects.create(name="Bench", slug="bench", plan=Plan.objects.get(code="enterprise"))
        issued = ApiKey.objects.generate(
            tenant, created_by=user, name="bench", kind="sk", environment="live", scopes=["analytics:read"]
        )
        return cls(tenant, issued.secret)

    def store(self, messages: int, people: int) -> None:
        traffic = Traffic(self.tenant.pk, *YEAR, seed=1, people=people)
        for _ in range(messages // 2 // TURNS_PER_INSERT):
            traffic.turns(TURNS_PER_INSERT).stored()
            traffic.sessions, traffic.messages = [], []

    def analytics(self, params: dict[str, str]) -> dict[str, Any]:
        path = f"/api/chat/tenants/{self.tenant.pk}/analytics"
        response = APIClient().get(path, params, headers={"X-API-Key": self.key})
        if response.status_code != 200:
            sys.exit(f"{path}: {response.status_code} {response.content.decode()}")
        answer: dict[str, Any] = response.json()
        return answer

    def delete_rollups(self) -> None:
        Rollup.collection().delete_many({})
        RollupCoverage.collection().delete_many({})

    def recount(
        self, start: datetime, end: datetime, zone: ZoneInfo
    ) -> tuple[dict[str, Any], dict[Any, Any]]:
        """Return the totals, and the metrics of each day, by the reference implementation."""
        of_tenant = {"tenant_id": self.tenant.pk}
        sessions, messages = ChatSession.collection().find(of_tenant), Message.collection().find(of_tenant)
        return recount(sessions, messages, start=start, end=end, interval="day", zone=zone)
