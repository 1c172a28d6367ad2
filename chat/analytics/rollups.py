"""Builds and invalidates the metrics stored per quarter hour.

Several workers do this at once and share nothing but the database:

- A quarter hour is rolled up once it has been over for `GRACE_PERIOD`; until then messages may still come in.
- Code that changes a final reply or deletes messages calls `invalidate` **before** it does. From then on the
  quarter hour is not fresh, and readers count its messages as they are at that moment.
- It becomes fresh again by one conditional update: no invalidation since its metrics were counted, none
  within the last `GRACE_PERIOD` (the announced change may not have happened yet), and none of its replies is
  running.
- Days, weeks and months are summed up from fresh quarter hours and deleted by `invalidate`
  (`calendar_rollups`).

So roll-ups decide how fast a response is (`reader`), never what it contains. A process that dies at any point
leaves quarter hours that are not fresh, or not covered; the next reader rolls them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone
from pymongo import InsertOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from chat.analytics import calendar_rollups
from chat.analytics.calendar_rollups import MAX_LENGTH
from chat.analytics.counting import QuarterMetrics, count_spans
from chat.analytics.metrics import Metrics
from chat.analytics.models import Rollup, RollupCoverage
from chat.analytics.periods import QUARTER, Period, Span, floor_quarter, merge
from chat.analytics.rollup_store import Write, quarter_key, read_quarters, write_new
from chat.models import ChatSession, Message
from core.time import utc

#: How far clocks may differ, and how long a change may take after it was announced.
GRACE_PERIOD = timedelta(minutes=5)

#: Counted and stored in one step; the first roll-up of several years proceeds in such steps.
STEP = timedelta(days=7)

_QUARTERS_PER_BATCH = 500


def invalidate(tenant_id: ObjectId, moments: Iterable[datetime]) -> None:
    """Announce that messages created at `moments` are about to change or be deleted. One round trip.

    To be called before a final reply is run again, gets feedback or changes in any other counted way.
    """
    quarters = {floor_quarter(moment) for moment in moments}
    # A quarter hour that is not over has no roll-up, unless clocks differ by more than GRACE_PERIOD.
    over = [quarter for quarter in quarters if quarter + QUARTER <= timezone.now()]
    if not over:
        return
    writes = [
        UpdateOne(
            quarter_key(tenant_id, quarter),
            {
                "$inc": {"marks": 1},
                "$currentDate": {"marked_at": True, "updated_at": True},
                "$set": {"fresh": False},
                "$setOnInsert": {"live": {}, "kept": {}, "created_at": timezone.now()},
            },
            upsert=True,
        )
        for quarter in over
    ]
    # In this order: see `calendar_rollups`.
    Rollup.collection().bulk_write([*writes, *calendar_rollups.deletions(tenant_id, over)])


def refresh(tenant_id: ObjectId, period: Period) -> None:
    """Roll up the part of the period that is over: quarter hours, then days, weeks and months.

    Leaves out what must not be rolled up yet. Repeatable, also by several processes at once.
    """
    watermark = _watermark()
    span = Span(period.span.start, min(period.span.end, floor_quarter(watermark))).full_quarters()
    covered = coverage(tenant_id)
    if covered is None or not covered.contains(span):
        first = first_activity(tenant_id)
        if first is None:
            return
        # The day of the first activity is to be complete in every time zone.
        span &= Span(floor_quarter(first) - MAX_LENGTH["day"], span.end)
        if not span:
            return
        covered = _extend_coverage(tenant_id, span, watermark)
    _refresh_stale(tenant_id, span, watermark)
    calendar_rollups.build(tenant_id, replace(period, span=period.span & covered))


def verify(tenant_id: ObjectId) -> int:
    """Recount all fresh quarter hours; return how many differed from their messages.

    Those are invalidated, so that readers count their messages until they are rolled up again.
    """
    differing = 0
    covered = coverage(tenant_id)
    while covered:
        step = covered & Span(covered.start, covered.start + STEP)
        # Read from one snapshot: messages that change meanwhile would look like a difference.
        with Rollup.collection().database.client.start_session(snapshot=True) as snapshot:
            stored = list(read_quarters(tenant_id, [step], snapshot))
            counted = count_spans(tenant_id, [step], snapshot)
        for quarter in stored:
            actual = counted.quarters.pop(quarter.span.start, Metrics())
            if quarter.is_fresh and Metrics.from_document(quarter.current) != actual:
                invalidate(tenant_id, [quarter.span.start])
                differing += 1
        for start in counted.quarters.keys() - counted.running:
            invalidate(tenant_id, [start])
            differing += 1
        covered = Span(step.end, covered.end)
    return differing


def coverage(tenant_id: ObjectId, session: ClientSession | None = None) -> Span | None:
    """Return the span in which a quarter hour without a document is one without activity."""
    document = RollupCoverage.collection().find_one({"_id": tenant_id}, session=session)
    return Span(utc(document["since"]), utc(document["until"])) if document else None


def first_activity(tenant_id: ObjectId) -> datetime | None:
    """Return when the tenant's oldest roll-up, message or session begins; None without any."""
    oldest = [
        Rollup.collection().find_one(
            {"tenant_id": tenant_id, "kind": Rollup.Kind.QUARTER.value}, {"start": 1}, sort=[("start", 1)]
        ),
        *(
            model.collection().find_one({"tenant_id": tenant_id}, {"created_at": 1}, sort=[("created_at", 1)])
            for model in (Message, ChatSession)
        ),
    ]
    return min((utc(row.get("start") or row["created_at"]) for row in oldest if row), default=None)


def _watermark() -> datetime:
    """Return the time before which no more messages come in, by the slower of the two clocks."""
    server = utc(Rollup.collection().database.command("hello")["localTime"])
    return min(server, timezone.now()) - GRACE_PERIOD


# -- quarter hours -------------------------------------------------------------


def _extend_coverage(tenant_id: ObjectId, wanted: Span, watermark: datetime) -> Span:
    """Roll up all quarter hours between the covered span and the far end of `wanted`."""
    while True:
        covered = coverage(tenant_id)
        if covered is None:
            covered = _begin_coverage(tenant_id, wanted.start)
        if covered is None:  # Another process began at the same moment.
            continue
        if covered.contains(wanted):
            return covered
        if wanted.start < covered.start:
            step = Span(max(wanted.start, covered.start - STEP), covered.start)
            change = {"since": step.start}
        else:
            step = Span(covered.end, min(wanted.end, covered.end + STEP))
            change = {"until": step.end}
        _roll_up(tenant_id, step, watermark)
        RollupCoverage.collection().update_one(
            {"_id": tenant_id, "since": covered.start, "until": covered.end},
            {"$set": {**change, "updated_at": timezone.now()}},
        )


def _begin_coverage(tenant_id: ObjectId, start: datetime) -> Span | None:
    now = timezone.now()
    document = {"_id": tenant_id, "since": start, "until": start, "created_at": now, "updated_at": now}
    try:
        RollupCoverage.collection().insert_one(document)
    except DuplicateKeyError:
        return None
    return Span(start, start)


def _roll_up(tenant_id: ObjectId, span: Span, watermark: datetime) -> None:
    match = {
        "tenant_id": tenant_id,
        "kind": Rollup.Kind.QUARTER.value,
        "start": {"$gte": span.start, "$lt": span.end},
    }
    existing = {utc(row["start"]): row for row in Rollup.collection().find(match, _INVALIDATION_FIELDS)}
    counted = count_spans(tenant_id, [span])
    quarters = existing.keys() | counted.quarters.keys() | counted.running
    _store(tenant_id, quarters, existing, counted, watermark)


def _refresh_stale(tenant_id: ObjectId, span: Span, watermark: datetime) -> None:
    """Count the quarter hours that are not fresh, except those invalidated within the grace period."""
    stale = Rollup.collection().find(
        {
            "tenant_id": tenant_id,
            "kind": Rollup.Kind.QUARTER.value,
            "start": {"$gte": span.start, "$lt": span.end},
            "fresh": False,
        },
        _INVALIDATION_FIELDS,
        sort=[("start", 1)],
    )
    ready = [row for row in stale if _is_past_grace_period(row, watermark)]
    for first in range(0, len(ready), _QUARTERS_PER_BATCH):
        existing = {utc(row["start"]): row for row in ready[first : first + _QUARTERS_PER_BATCH]}
        spans = merge(Span(start, start + QUARTER) for start in existing)
        _store(tenant_id, existing, existing, count_spans(tenant_id, spans), watermark)


#: Read of a roll-up before its messages are counted.
_INVALIDATION_FIELDS = {"start": 1, "marks": 1, "marked_at": 1}


def _is_past_grace_period(row: Mapping[str, Any], watermark: datetime) -> bool:
    return row["marked_at"] is None or utc(row["marked_at"]) <= watermark


def _store(
    tenant_id: ObjectId,
    quarters: Iterable[datetime],
    existing: Mapping[datetime, Mapping[str, Any]],
    counted: QuarterMetrics,
    watermark: datetime,
) -> None:
    """Store what was counted, except in quarter hours invalidated since `existing` was read."""
    now = timezone.now()
    writes: list[Write] = []
    for quarter in quarters:
        row = existing.get(quarter)
        found = quarter_key(tenant_id, quarter)
        changed = {
            "live": counted.quarters.get(quarter, Metrics()).document(),
            "fresh": quarter not in counted.running
            and (row is None or _is_past_grace_period(row, watermark)),
            "updated_at": now,
        }
        if row is None:
            new = {"kept": {}, "marks": 0, "marked_at": None, "created_at": now}
            writes.append(InsertOne({**found, **new, **changed}))
        else:
            writes.append(UpdateOne({**found, "marks": row["marks"]}, {"$set": changed}))
    # A duplicate key: the quarter hour was invalidated meanwhile, and stays as it is.
    write_new(writes)
