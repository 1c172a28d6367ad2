"""Roll-ups of the days, weeks and months of a time zone's calendar.

Days are the sum of quarter hours that are all fresh; weeks and months are the sum of days that are all
stored. To build one, a placeholder document is inserted, then its parts are read, then the placeholder is
completed if it still exists. `rollups.invalidate` works in the opposite order: it marks quarter hours as not
fresh, then deletes days, then weeks and months. However the two interleave, nothing is stored that was
summed up from a part about to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId
from django.utils import timezone
from pymongo import DeleteMany, UpdateOne
from pymongo.client_session import ClientSession

from chat.analytics.metrics import Metrics, Summary
from chat.analytics.models import Rollup
from chat.analytics.periods import Interval, Period, Span, merge
from chat.analytics.rollup_store import calendar_match, key, read_quarters, span_of, write_new

#: With more people a document could exceed 16 MiB. Such a span is read from its parts.
MAX_PEOPLE = 500_000

#: Upper bounds of the length of each kind; the clock may be put back within it.
MAX_LENGTH: dict[Interval, timedelta] = {
    "day": timedelta(hours=26),
    "week": timedelta(days=7, hours=2),
    "month": timedelta(days=31, hours=2),
}

_DAYS_PER_BATCH = 31


def build(tenant_id: ObjectId, period: Period) -> None:
    """Store the roll-ups from which the period is read. Its quarter hours are rolled up already."""
    if period.interval == "hour":
        return
    kinds: dict[Interval, None] = dict.fromkeys(("day", "month", period.interval))
    for kind in kinds:
        _build_kind(tenant_id, kind, period)


def deletions(tenant_id: ObjectId, quarters: Iterable[datetime]) -> list[DeleteMany]:
    """Return the writes that delete what contains any of the quarter hours; their order matters."""
    quarters = list(quarters)
    return [
        DeleteMany(
            {
                "tenant_id": tenant_id,
                "kind": Rollup.Kind(kind).value,
                # The lower bound keeps the index from being read from its beginning.
                "start": {"$lte": quarter, "$gt": quarter - max_length},
                "end": {"$gt": quarter},
            }
        )
        for kind, max_length in MAX_LENGTH.items()
        for quarter in quarters
    ]


def read_metrics(
    tenant_id: ObjectId, kind: Interval, spans: Sequence[Span], session: ClientSession | None = None
) -> Iterator[tuple[Span, Metrics]]:
    """Yield the metrics of those of `spans` that are stored, in any order."""
    for span, row in _find(tenant_id, kind, spans, {"live": 1}, session):
        yield span, Metrics.from_document(row["live"])


def read_summaries(
    tenant_id: ObjectId, kind: Interval, spans: Sequence[Span], session: ClientSession | None = None
) -> Iterator[tuple[Span, Summary]]:
    """Yield the summaries of those of `spans` that are stored, in any order."""
    for span, row in _find(tenant_id, kind, spans, {"summary": 1}, session):
        yield span, Summary.from_document(row["summary"])


def _find(
    tenant_id: ObjectId,
    kind: Interval,
    spans: Sequence[Span],
    fields: dict[str, int],
    session: ClientSession | None = None,
) -> Iterator[tuple[Span, dict[str, Any]]]:
    if not spans:
        return
    wanted = set(spans)
    match = {**calendar_match(tenant_id, kind, spans), "fresh": True}
    for row in Rollup.collection().find(match, {"start": 1, "end": 1, **fields}, session=session):
        if (span := span_of(row)) in wanted:
            yield span, row


def _build_kind(tenant_id: ObjectId, kind: Interval, period: Period) -> None:
    spans = period.full_intervals(kind)
    stored = {span for span, _ in _find(tenant_id, kind, spans, {})}
    missing = [span for span in spans if span not in stored]
    batch_size = _DAYS_PER_BATCH if kind == "day" else 1
    for first in range(0, len(missing), batch_size):
        batch = missing[first : first + batch_size]
        placeholders = _insert_placeholders(tenant_id, kind, batch)
        sums = _sum_quarters(tenant_id, batch) if kind == "day" else _sum_days(tenant_id, batch, period.zone)
        write_new(
            [
                UpdateOne({"_id": placeholders[span]}, {"$set": _completion(metrics)})
                for span, metrics in sums
                if span in placeholders and len(metrics.users) + len(metrics.visitors) <= MAX_PEOPLE
            ]
        )


def _insert_placeholders(tenant_id: ObjectId, kind: Interval, spans: Sequence[Span]) -> dict[Span, ObjectId]:
    """Return the ids of the spans' documents, which are inserted if missing."""
    now = timezone.now()
    empty: dict[str, Any] = {"fresh": False, "marks": 0, "marked_at": None}
    empty |= {"live": {}, "kept": {}, "summary": {}, "created_at": now, "updated_at": now}
    keys = [key(tenant_id, Rollup.Kind(kind), span) for span in spans]
    write_new([UpdateOne(each, {"$setOnInsert": empty}, upsert=True) for each in keys])
    rows = Rollup.collection().find(calendar_match(tenant_id, kind, spans), {"start": 1, "end": 1})
    return {span_of(row): row["_id"] for row in rows}


def _completion(metrics: Metrics) -> dict[str, Any]:
    """Return the fields that complete a placeholder."""
    return {
        "live": metrics.document(),
        "summary": metrics.summary().document(),
        "fresh": True,
        "updated_at": timezone.now(),
    }


def _sum_quarters(tenant_id: ObjectId, days: Sequence[Span]) -> Iterator[tuple[Span, Metrics]]:
    """Yield the sum of each day of which all quarter hours are fresh."""
    quarters = read_quarters(tenant_id, merge(days))
    quarter = next(quarters, None)
    for day in days:
        metrics, fresh = Metrics(), True
        while quarter and quarter.span.start < day.end:
            fresh &= quarter.is_fresh
            metrics.add(Metrics.from_document(quarter.current))
            metrics.add(Metrics.from_document(quarter.archived))
            quarter = next(quarters, None)
        if fresh:
            yield day, metrics


def _sum_days(tenant_id: ObjectId, spans: Sequence[Span], zone: ZoneInfo) -> Iterator[tuple[Span, Metrics]]:
    """Yield the sum of each span of which all days are stored."""
    for span in spans:
        days = Period(span, "day", zone).full_intervals("day")
        stored = [metrics for _, metrics in read_metrics(tenant_id, "day", days)]
        if len(stored) == len(days):
            total = Metrics()
            for metrics in stored:
                total.add(metrics)
            yield span, total
