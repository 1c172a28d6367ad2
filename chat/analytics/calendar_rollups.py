"""Days, weeks and months of a time zone's calendar, made of quarter hours.

Days are summed up from quarter hours that are all fresh; weeks and months from days that are all
stored. What is made first gets an empty document, then its parts are read, then the document is filled
if it is still there. `mark` does it the other way round: quarter hours are not fresh any more, then
days are deleted, then weeks and months. So whichever way the two meet, nothing is stored that was summed
up from what is being changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from bson import ObjectId
from django.utils import timezone
from pymongo import DeleteMany, UpdateOne
from pymongo.client_session import ClientSession

from chat.analytics.metrics import Figures, Summary
from chat.analytics.models import Rollup
from chat.analytics.periods import Interval, Period, Span, joined
from chat.analytics.rollup_store import calendar_match, key, quarters_match, span_of, write_new
from core.time import utc

#: With more people in it a document could outgrow 16 MiB. Such a span is read from its parts.
MOST_PEOPLE = 500_000

#: No span of the kind is longer, whatever the clock does.
LONGEST: dict[Interval, timedelta] = {
    "day": timedelta(hours=26),
    "week": timedelta(days=7, hours=2),
    "month": timedelta(days=31, hours=2),
}

_DAYS_AT_ONCE = 31


def make(tenant_id: ObjectId, period: Period) -> None:
    """Make what the period's answer is read from. The period is rolled up in quarter hours already."""
    if period.interval == "hour":
        return
    kinds: dict[Interval, None] = dict.fromkeys(("day", "month", period.interval))
    for kind in kinds:
        _make(tenant_id, kind, period)


def deletions(tenant_id: ObjectId, quarters: Iterable[datetime]) -> list[DeleteMany]:
    """Return what is to be deleted, in this order, where quarter hours are not fresh any more."""
    quarters = list(quarters)
    return [
        DeleteMany(
            {
                "tenant_id": tenant_id,
                "kind": Rollup.Kind(kind).value,
                # The lower bound keeps the index from being read from its beginning.
                "start": {"$lte": quarter, "$gt": quarter - longest},
                "end": {"$gt": quarter},
            }
        )
        for kind, longest in LONGEST.items()
        for quarter in quarters
    ]


def read_figures(
    tenant_id: ObjectId, kind: Interval, spans: Sequence[Span], session: ClientSession | None = None
) -> Iterator[tuple[Span, Figures]]:
    """Return the figures of those of `spans` that are stored."""
    for span, row in _stored(tenant_id, kind, spans, {"live": 1}, session):
        yield span, Figures.from_document(row["live"])


def read_summaries(
    tenant_id: ObjectId, kind: Interval, spans: Sequence[Span], session: ClientSession | None = None
) -> Iterator[tuple[Span, Summary]]:
    """Return the summaries of those of `spans` that are stored."""
    for span, row in _stored(tenant_id, kind, spans, {"summary": 1}, session):
        yield span, Summary.from_document(row["summary"])


def _stored(
    tenant_id: ObjectId,
    kind: Interval,
    spans: Sequence[Span],
    fields: dict[str, int],
    session: ClientSession | None = None,
) -> Iterator[tuple[Span, dict]]:
    if not spans:
        return
    wanted = set(spans)
    match = {**calendar_match(tenant_id, kind, spans), "fresh": True}
    for row in Rollup.collection().find(match, {"start": 1, "end": 1, **fields}, session=session):
        if (span := span_of(row)) in wanted:
            yield span, row


def _make(tenant_id: ObjectId, kind: Interval, period: Period) -> None:
    spans = period.whole(kind)
    there = {span for span, _ in _stored(tenant_id, kind, spans, {})}
    missing = [span for span in spans if span not in there]
    at_once = _DAYS_AT_ONCE if kind == "day" else 1
    for at in range(0, len(missing), at_once):
        some = missing[at : at + at_once]
        places = _places(tenant_id, kind, some)
        summed = (
            _from_quarters(tenant_id, some) if kind == "day" else _from_days(tenant_id, some, period.zone)
        )
        write_new(
            [
                UpdateOne({"_id": places[span]}, {"$set": _filled(figures)})
                for span, figures in summed
                if span in places and len(figures.users) + len(figures.visitors) <= MOST_PEOPLE
            ]
        )


def _filled(figures: Figures) -> dict:
    return {
        "live": figures.document(),
        "summary": figures.summary().document(),
        "fresh": True,
        "updated_at": timezone.now(),
    }


def _places(tenant_id: ObjectId, kind: Interval, spans: Sequence[Span]) -> dict[Span, ObjectId]:
    """Return the ids of the spans' documents, made here as empty ones where there are none."""
    now = timezone.now()
    empty = {"fresh": False, "marks": 0, "marked_at": None, "live": {}, "kept": {}, "summary": {}}
    new = {**empty, "created_at": now, "updated_at": now}
    keys = [key(tenant_id, Rollup.Kind(kind), span) for span in spans]
    write_new([UpdateOne(each, {"$setOnInsert": new}, upsert=True) for each in keys])
    rows = Rollup.collection().find(calendar_match(tenant_id, kind, spans), {"start": 1, "end": 1})
    return {span_of(row): row["_id"] for row in rows}


def _from_quarters(tenant_id: ObjectId, days: Sequence[Span]) -> Iterator[tuple[Span, Figures]]:
    """Sum up each day, but for days with a quarter hour that is not fresh."""
    rows = Rollup.collection().find(quarters_match(tenant_id, joined(days)), sort=[("start", 1)])
    row = next(rows, None)
    for day in days:
        figures, fresh = Figures(), True
        while row and utc(row["start"]) < day.end:
            fresh &= row["fresh"]
            figures.add(Figures.from_document(row["live"]))
            figures.add(Figures.from_document(row["kept"]))
            row = next(rows, None)
        if fresh:
            yield day, figures


def _from_days(tenant_id: ObjectId, spans: Sequence[Span], zone: ZoneInfo) -> Iterator[tuple[Span, Figures]]:
    """Sum up each span of which all days are stored."""
    for span in spans:
        days = Period(span, "day", zone).whole("day")
        stored = [figures for _, figures in read_figures(tenant_id, "day", days)]
        if len(stored) == len(days):
            sum_of_days = Figures()
            for figures in stored:
                sum_of_days.add(figures)
            yield span, sum_of_days
