"""Analytics count a tenant's own documents only, and their rollups are kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from bson import ObjectId

from chat.analytics import rollups
from chat.analytics.models import Rollup, RollupCoverage
from qa.isolation.matrix import Matrix
from qa.isolation.probes.registry import has_status, probe, shows_nothing_of
from qa.isolation.tenant_fixtures import CREATED_AT, analytics_from


@probe
def no_rollup_exists_for_a_tenant_that_has_requested_none(matrix: Matrix) -> Iterator[str]:
    if covered := rollups.coverage(matrix.dataset.acme.tenant.pk):
        yield f"the coverage is {covered}"


#: Of Acme's sessions one is empty and two contain a message that names another tenant. It has two questions
#: in each of three sessions, and one in a session of Umbrella.
_TOTALS = {"sessions": 6, "messages": 7, "active": {"users": 1, "visitors": 2}}
_ATTEMPTS = {"count": 6, "input_tokens": 60, "output_tokens": 60}


@probe
def analytics_count_the_tenants_own_documents(matrix: Matrix) -> Iterator[str]:
    url = f"/api/chat/tenants/{matrix.dataset.acme.tenant.pk}/analytics"
    for interval in ("day", "week", "month", "day", "week", "month"):  # From messages, then from rollups.
        path = f"{url}?interval={interval}&from={analytics_from()}"
        answer = matrix.request("GET", path, matrix.dataset["admin"])
        yield from has_status(answer, 200, path)
        yield from shows_nothing_of(answer, "umbrella", path)
        totals: dict[str, Any] = answer.json().get("totals", {})
        if not _includes(totals, _TOTALS) or not _includes(totals.get("attempts", {}), _ATTEMPTS):
            yield f"the totals by {interval} are {totals}"


def _includes(metrics: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(metrics.get(name) == value for name, value in expected.items())


# -- rollups ---------------------------------------------------------


@probe
def rollups_begin_with_the_tenants_own_first_session(matrix: Matrix) -> Iterator[str]:
    """Umbrella's first session is days older."""
    yield from _request_analytics(matrix)
    since = RollupCoverage.objects.get(pk=matrix.dataset.acme.tenant.pk).since
    if since < CREATED_AT - timedelta(days=2):
        yield f"they begin at {since}"


@probe
def coverage_of_rollups_grows_for_one_tenant(matrix: Matrix) -> Iterator[str]:
    """Even if the coverage of another tenant ends at the same time."""
    acme, umbrella = matrix.dataset.acme.tenant.pk, matrix.dataset.umbrella.tenant.pk
    yield from _request_analytics(matrix)
    since = _coverage(acme)["since"]
    same = {"$set": {"since": since, "until": since}}
    RollupCoverage.collection().update_many({"_id": {"$in": [acme, umbrella]}}, same)
    before = _coverage(umbrella)
    yield from _request_analytics(matrix)
    if _coverage(umbrella) != before:
        yield "Umbrella's has grown"


@probe
def a_recent_invalidation_is_not_ended_for_another_tenant(matrix: Matrix) -> Iterator[str]:
    """A quarter hour of Umbrella was invalidated long ago, the same one of Acme just now."""
    acme, umbrella = matrix.dataset.acme.tenant.pk, matrix.dataset.umbrella.tenant.pk
    yield from _request_analytics(matrix)
    for tenant in (umbrella, acme):
        rollups.invalidate(tenant, [CREATED_AT])
    acmes, umbrellas = _invalidated(acme)[0], _invalidated(umbrella)[0]
    long_ago = {"marked_at": CREATED_AT, "marks": acmes["marks"]}
    Rollup.collection().update_one({"_id": umbrellas["_id"]}, {"$set": long_ago})
    yield from _request_analytics(matrix)
    if not _invalidated(acme):
        yield "the invalidation of Acme has ended"


def _request_analytics(matrix: Matrix) -> Iterator[str]:
    path = f"/api/chat/tenants/{matrix.dataset.acme.tenant.pk}/analytics?interval=day&from={analytics_from()}"
    yield from has_status(matrix.request("GET", path, matrix.dataset["admin"]), 200, "analytics")


def _coverage(tenant_id: ObjectId) -> dict[str, Any]:
    coverage: dict[str, Any]
    (coverage,) = RollupCoverage.collection().find({"_id": tenant_id})
    return coverage


def _invalidated(tenant_id: ObjectId) -> list[dict[str, Any]]:
    return list(Rollup.collection().find({"tenant_id": tenant_id, "fresh": False, "marks": {"$gt": 0}}))
