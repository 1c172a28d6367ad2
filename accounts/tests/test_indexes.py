"""Every query of a request uses an index."""

import json
from datetime import timedelta

import pytest
from bson import ObjectId
from django.utils import timezone

from accounts.models import RefreshToken, User


def stages(plan: dict) -> set[str]:
    """Return the names of a plan's stages."""
    inputs = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    return {plan["stage"]}.union(*map(stages, inputs))


ALICE, BOB = ObjectId(), ObjectId()

QUERIES = {
    "a login": lambda: User.objects.filter(email="user7@example.com"),
    "a refresh": lambda: RefreshToken.objects.filter(jti="7"),
    "a logout": lambda: RefreshToken.objects.filter(user=ALICE, family="7", revoked_at=None),
    "a logout from everywhere": lambda: RefreshToken.objects.filter(user=ALICE, revoked_at=None),
    "sessions with access": lambda: RefreshToken.objects.filter(user=ALICE, created_at__gt=timezone.now()),
    "the list of sessions": lambda: (
        RefreshToken.objects.filter(user=ALICE).live().order_by("-created_at", "-id")[:21]
    ),
}


@pytest.fixture
def many_users(db):
    """Enough documents for the query planner to prefer an index."""
    now = timezone.now()
    User.collection().insert_many({"email": f"user{number}@example.com"} for number in range(300))
    RefreshToken.collection().insert_many(
        {
            "jti": str(number),
            "family": str(number // 3),
            "user_id": (ALICE, BOB)[number % 2],
            "created_at": now - timedelta(minutes=number),
            "expires_at": now + timedelta(days=7, minutes=-number),
            "used_at": None if number % 3 == 0 else now,
            "revoked_at": None,
        }
        for number in range(300)
    )


@pytest.mark.parametrize("query", QUERIES)
def test_query_uses_an_index(many_users, query):
    plan = json.loads(QUERIES[query]().explain())["queryPlanner"]["winningPlan"]

    assert "IXSCAN" in stages(plan)
    assert not stages(plan) & {"COLLSCAN", "SORT"}
