"""Keeping figures per quarter hour, true to the messages they come from.

Several workers do this at once, with nothing between them but the database:

- A quarter hour is rolled up once it is over for `SETTLING`; until then new messages may come in.
- Whoever changes a final reply or removes messages announces it **before** (`mark`). From then on the
  quarter hour is not fresh: readers count its messages, as they are at that moment.
- It becomes fresh again by one conditional update: nothing was announced since its figures were
  counted, nothing in the last `SETTLING` (the announced change may still be on its way), and none of
  its replies is running.
- Days, weeks and months are made of fresh quarter hours, and deleted by `mark` (`calendars`).

So roll-ups only decide how fast an answer is (`reading`), never what it says. Dying at any point
leaves quarter hours that are not fresh, or not covered, which the next reader makes up for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone
from pymongo import InsertOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from chat.analytics import calendar_rollups
from chat.analytics.calendar_rollups import LONGEST
from chat.analytics.counting import Counted, count_spans
from chat.analytics.metrics import Figures
from chat.analytics.models import Rollup, RollupCoverage
from chat.analytics.periods import QUARTER, Period, Span, floor_quarter, joined
from chat.analytics.rollup_store import quarter_key, quarters_match, write_new
from chat.models import ChatSession, Message
from core.time import utc

#: How long clocks may differ, and how long an announced change may take.
SETTLING = timedelta(minutes=5)

#: What is counted and stored in one go; a first roll-up of years proceeds in such steps.
STEP = timedelta(days=7)

_STALE_AT_ONCE = 500


def mark(tenant_id: ObjectId, moments: Iterable[datetime]) -> None:
    """Announce that messages created at `moments` are about to change or go. One round trip.

    To be called before a final reply is run again, gets feedback or changes in any other counted way.
    """
    quarters = {floor_quarter(moment) for moment in moments}
    # One that is not over is not rolled up by anyone, unless clocks differ by more than SETTLING.
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
    # In this order: see `calendars`.
    Rollup.collection().bulk_write([*writes, *calendar_rollups.deletions(tenant_id, over)])


def refresh(tenant_id: ObjectId, period: Period) -> None:
    """Roll up what of the period is over: its quarter hours and what `calendars` makes of them.

    What must not be rolled up yet is left. Repeatable, and harmless beside others doing the same.
    """
    settled = _settled()
    span = Span(period.span.start, min(period.span.end, floor_quarter(settled))).whole_quarters()
    covered = coverage(tenant_id)
    if covered is None or not covered.contains(span):
        first = first_activity(tenant_id)
        if first is None:
            return
        # The day of the first activity is to be whole in every time zone.
        span &= Span(floor_quarter(first) - LONGEST["day"], span.end)
        if not span:
            return
        covered = _cover(tenant_id, span, settled)
    _renew(tenant_id, span, settled)
    calendar_rollups.make(tenant_id, replace(period, span=period.span & covered))


def verify(tenant_id: ObjectId) -> int:
    """Recount all that is rolled up and fresh; return how many quarter hours differed from their messages.

    Those are marked, so that readers count their messages until they are rolled up again.
    """
    differing = 0
    covered = coverage(tenant_id)
    while covered:
        step = covered & Span(covered.start, covered.start + STEP)
        # One snapshot, or messages that change meanwhile would look like a difference.
        with Rollup.collection().database.client.start_session(snapshot=True) as snapshot:
            stored = list(Rollup.collection().find(quarters_match(tenant_id, [step]), session=snapshot))
            counted = count_spans(tenant_id, [step], snapshot)
        for row in stored:
            actual = counted.quarters.pop(utc(row["start"]), Figures())
            if row["fresh"] and Figures.from_document(row["live"]) != actual:
                mark(tenant_id, [utc(row["start"])])
                differing += 1
        for quarter in counted.quarters.keys() - counted.running:
            mark(tenant_id, [quarter])
            differing += 1
        covered = Span(step.end, covered.end)
    return differing


def coverage(tenant_id: ObjectId, session: ClientSession | None = None) -> Span | None:
    """Return the span in which a quarter hour without a document is one without figures."""
    document = RollupCoverage.collection().find_one({"_id": tenant_id}, session=session)
    return document and Span(utc(document["since"]), utc(document["until"]))


def first_activity(tenant_id: ObjectId) -> datetime | None:
    """Return when the tenant's oldest figure, message or session was made."""
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


def _settled() -> datetime:
    """Return the moment before which nothing comes in any more, by whichever clock is behind."""
    server = utc(Rollup.collection().database.command("hello")["localTime"])
    return min(server, timezone.now()) - SETTLING


# -- quarter hours -------------------------------------------------------------


def _cover(tenant_id: ObjectId, wanted: Span, settled: datetime) -> Span:
    """Roll up all quarter hours that lie between what is covered and the far end of `wanted`."""
    while True:
        covered = coverage(tenant_id)
        if covered is None:
            covered = _begin_coverage(tenant_id, wanted.start)
        if covered is None:  # Another worker began at the same moment.
            continue
        if covered.contains(wanted):
            return covered
        if wanted.start < covered.start:
            step = Span(max(wanted.start, covered.start - STEP), covered.start)
            change = {"since": step.start}
        else:
            step = Span(covered.end, min(wanted.end, covered.end + STEP))
            change = {"until": step.end}
        _roll_up(tenant_id, step, settled)
        RollupCoverage.collection().update_one(
            {"_id": tenant_id, "since": covered.start, "until": covered.end},
            {"$set": {**change, "updated_at": timezone.now()}},
        )


def _begin_coverage(tenant_id: ObjectId, at: datetime) -> Span | None:
    now = timezone.now()
    document = {"_id": tenant_id, "since": at, "until": at, "created_at": now, "updated_at": now}
    try:
        RollupCoverage.collection().insert_one(document)
    except DuplicateKeyError:
        return None
    return Span(at, at)


def _roll_up(tenant_id: ObjectId, span: Span, settled: datetime) -> None:
    match = {
        "tenant_id": tenant_id,
        "kind": Rollup.Kind.QUARTER.value,
        "start": {"$gte": span.start, "$lt": span.end},
    }
    marked = {utc(row["start"]): row for row in Rollup.collection().find(match, _MARKS)}
    counted = count_spans(tenant_id, [span])
    _store(tenant_id, marked.keys() | counted.quarters.keys() | counted.running, marked, counted, settled)


def _renew(tenant_id: ObjectId, span: Span, settled: datetime) -> None:
    """Count again the quarter hours that are not fresh, but for those announced just now."""
    stale = Rollup.collection().find(
        {
            "tenant_id": tenant_id,
            "kind": Rollup.Kind.QUARTER.value,
            "start": {"$gte": span.start, "$lt": span.end},
            "fresh": False,
        },
        _MARKS,
        sort=[("start", 1)],
    )
    quiet = [row for row in stale if _is_quiet(row, settled)]
    for at in range(0, len(quiet), _STALE_AT_ONCE):
        marked = {utc(row["start"]): row for row in quiet[at : at + _STALE_AT_ONCE]}
        spans = joined(Span(start, start + QUARTER) for start in marked)
        _store(tenant_id, marked, marked, count_spans(tenant_id, spans), settled)


#: What must be read of a roll-up before its messages are counted.
_MARKS = {"start": 1, "marks": 1, "marked_at": 1}


def _is_quiet(row: dict[str, Any], settled: datetime) -> bool:
    return row["marked_at"] is None or utc(row["marked_at"]) <= settled


def _store(
    tenant_id: ObjectId,
    quarters: Iterable[datetime],
    marked: dict[datetime, dict[str, Any]],
    counted: Counted,
    settled: datetime,
) -> None:
    """Store what was counted, where nothing was announced since `marked` was read."""
    now = timezone.now()
    writes: list[InsertOne | UpdateOne] = []
    for quarter in quarters:
        row = marked.get(quarter)
        found = quarter_key(tenant_id, quarter)
        changed = {
            "live": counted.quarters.get(quarter, Figures()).document(),
            "fresh": quarter not in counted.running and (row is None or _is_quiet(row, settled)),
            "updated_at": now,
        }
        if row is None:
            new = {"kept": {}, "marks": 0, "marked_at": None, "created_at": now}
            writes.append(InsertOne({**found, **new, **changed}))
        else:
            writes.append(UpdateOne({**found, "marks": row["marks"]}, {"$set": changed}))
    # A duplicate: the quarter hour was announced meanwhile, and stays as it is.
    write_new(writes)
