"""Figures: counted from one's own, and kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from bson import ObjectId

from chat.analytics import rollups
from chat.analytics.models import Rollup, RollupCoverage
from qa.isolation.matrix import Matrix
from qa.isolation.probes.probe import probe, shows_nothing_of, status
from qa.isolation.tenant_fixtures import TALKED_AT, since


@probe
def nothing_is_kept_of_who_has_not_asked(matrix: Matrix) -> Iterator[str]:
    if kept := rollups.coverage(matrix.world.acme.tenant.pk):
        yield f"{kept} is said to be"


#: What stands in Acme's sessions: one is empty, two hold a message that is not Acme's. Its questions
#: are two in each of three sessions, and one in a session that is not Acme's.
_TOTALS = {"sessions": 6, "messages": 7, "active": {"users": 1, "visitors": 2}}
_ATTEMPTS = {"count": 6, "input_tokens": 60, "output_tokens": 60}


@probe
def analytics_count_ones_own(matrix: Matrix) -> Iterator[str]:
    place = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/analytics"
    for interval in ("day", "week", "month", "day", "week", "month"):  # Counted first, then read.
        path = f"{place}?interval={interval}&from={since()}"
        answer = matrix.request("GET", path, matrix.world["admin"])
        yield from status(answer, 200, path)
        yield from shows_nothing_of(answer, "umbrella", path)
        totals: dict[str, Any] = answer.json().get("totals", {})
        if not _holds(totals, _TOTALS) or not _holds(totals.get("attempts", {}), _ATTEMPTS):
            yield f"those by {interval} are {totals}"


def _holds(figures: dict[str, Any], stated: dict[str, Any]) -> bool:
    return all(figures.get(name) == value for name, value in stated.items())


# -- how they are kept ---------------------------------------------------------


@probe
def figures_are_kept_from_ones_own_beginning(matrix: Matrix) -> Iterator[str]:
    """Umbrella talked days earlier."""
    yield from _asked(matrix)
    kept_since = RollupCoverage.objects.get(pk=matrix.world.acme.tenant.pk).since
    if kept_since < TALKED_AT - timedelta(days=2):
        yield f"they are kept since {kept_since}"


@probe
def what_is_kept_grows_for_one_tenant_only(matrix: Matrix) -> Iterator[str]:
    """Even if another's keeping had come just as far."""
    acme, umbrella = matrix.world.acme.tenant.pk, matrix.world.umbrella.tenant.pk
    yield from _asked(matrix)
    began = {"$set": {"until": RollupCoverage.collection().find_one({"_id": acme})["since"]}}
    began["$set"]["since"] = began["$set"]["until"]
    RollupCoverage.collection().update_many({"_id": {"$in": [acme, umbrella]}}, began)
    theirs = RollupCoverage.collection().find_one({"_id": umbrella})
    yield from _asked(matrix)
    if RollupCoverage.collection().find_one({"_id": umbrella}) != theirs:
        yield "Umbrella's has grown"


@probe
def what_was_just_announced_is_not_believed_for_anothers_sake(matrix: Matrix) -> Iterator[str]:
    """Umbrella's quarter hour has been quiet for long, Acme's has just been announced to change."""
    acme, umbrella = matrix.world.acme.tenant.pk, matrix.world.umbrella.tenant.pk
    yield from _asked(matrix)
    for tenant in (umbrella, acme):
        rollups.mark(tenant, [TALKED_AT])
    long_ago = {"marked_at": TALKED_AT, "marks": _announced(acme)["marks"]}
    Rollup.collection().update_one({"_id": _announced(umbrella)["_id"]}, {"$set": long_ago})
    yield from _asked(matrix)
    if _announced(acme) is None:
        yield "it is believed again"


def _asked(matrix: Matrix) -> Iterator[str]:
    path = f"/api/chat/tenants/{matrix.world.acme.tenant.pk}/analytics?interval=day&from={since()}"
    yield from status(matrix.request("GET", path, matrix.world["admin"]), 200, "analytics")


def _announced(tenant_id: ObjectId) -> dict[str, Any] | None:
    return Rollup.collection().find_one({"tenant_id": tenant_id, "fresh": False, "marks": {"$gt": 0}})
