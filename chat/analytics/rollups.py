"""Keeping figures per quarter hour and day, true to the messages they come from.

Several workers do this at once, with nothing between them but the database:

- A quarter hour is rolled up once it is over for `SETTLING`; until then new messages may come in.
- Whoever changes a final reply or removes messages announces it **before** (`mark`). From then on the
  quarter hour is not fresh: readers count its messages, as they are at that moment.
- It becomes fresh again by one conditional update: nothing was announced since its figures were
  counted, nothing in the last `SETTLING` (the announced change may still be on its way), and none of
  its replies is running.
- A day is made of fresh quarter hours. `mark` deletes the days around; one that is being made then
  has nowhere to be stored.

So roll-ups only decide how fast an answer is (`reading`), never what it says. Dying at any point
leaves quarter hours that are not fresh, or not covered, which the next reader makes up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from django.utils import timezone
from pymongo import DeleteMany, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from chat.analytics.counting import Counted, count_spans
from chat.analytics.figures import Figures
from chat.analytics.models import Rollup, RollupCoverage
from chat.analytics.periods import QUARTER, Period, Span, floor_quarter, joined
from chat.models import ChatSession, Message

#: How long clocks may differ, and how long an announced change may take.
SETTLING = timedelta(minutes=5)

#: What is counted and stored in one go; a first roll-up of years proceeds in such steps.
STEP = timedelta(days=7)

#: A day with more people is not stored as one: documents end at 16 MiB. Its quarter hours are read.
MOST_PEOPLE_A_DAY = 500_000

_STALE_AT_ONCE = 500
_DAYS_AT_ONCE = 31
_LONGEST_DAY = timedelta(hours=26)
_DUPLICATE_KEY = 11000


def mark(tenant_id: ObjectId, moments: Iterable[datetime]) -> None:
    """Announce that messages created at `moments` are about to change or go. One round trip.

    To be called before a final reply is run again, gets feedback or changes in any other counted way.
    """
    quarters = {floor_quarter(moment) for moment in moments}
    # One that is not over is not rolled up by anyone, unless clocks differ by more than SETTLING.
    over = [quarter for quarter in quarters if quarter + QUARTER <= timezone.now()]
    if not over:
        return
    writes: list[UpdateOne | DeleteMany] = [
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
    writes += [
        DeleteMany(
            {
                "tenant_id": tenant_id,
                "kind": Rollup.Kind.DAY.value,
                # The lower bound keeps the index from being read from its beginning.
                "start": {"$lte": quarter, "$gt": quarter - _LONGEST_DAY},
                "end": {"$gt": quarter},
            }
        )
        for quarter in over
    ]
    Rollup.collection().bulk_write(writes)


def refresh(tenant_id: ObjectId, period: Period) -> None:
    """Roll up what of the period is over: its quarter hours and, unless hours are asked for, its days.

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
        span &= Span(floor_quarter(first - _LONGEST_DAY), span.end)
        if not span:
            return
        covered = _cover(tenant_id, span, settled)
    _renew(tenant_id, span, settled)
    if period.interval != "hour":
        _make_days(tenant_id, replace(period, span=period.span & covered).whole_days())


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
            actual = counted.quarters.pop(_utc(row["start"]), Figures())
            if row["fresh"] and Figures.from_document(row["live"]) != actual:
                mark(tenant_id, [_utc(row["start"])])
                differing += 1
        for quarter in counted.quarters.keys() - counted.running:
            mark(tenant_id, [quarter])
            differing += 1
        covered = Span(step.end, covered.end)
    return differing


def coverage(tenant_id: ObjectId, session: ClientSession | None = None) -> Span | None:
    """Return the span in which a quarter hour without a document is one without figures."""
    document = RollupCoverage.collection().find_one({"_id": tenant_id}, session=session)
    return document and Span(_utc(document["since"]), _utc(document["until"]))


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
    return min((_utc(row.get("start") or row["created_at"]) for row in oldest if row), default=None)


def _settled() -> datetime:
    """Return the moment before which nothing comes in any more, by whichever clock is behind."""
    server = _utc(Rollup.collection().database.command("hello")["localTime"])
    return min(server, timezone.now()) - SETTLING


# -- quarter hours -------------------------------------------------------------


def _cover(tenant_id: ObjectId, wanted: Span, settled: datetime) -> Span:
    """Roll up all quarter hours that lie between what is covered and the far end of `wanted`."""
    while True:
        covered = coverage(tenant_id) or _begin_coverage(tenant_id, wanted.start)
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
    marked = {_utc(row["start"]): row for row in Rollup.collection().find(match, _MARKS)}
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
        marked = {_utc(row["start"]): row for row in quiet[at : at + _STALE_AT_ONCE]}
        spans = joined(Span(start, start + QUARTER) for start in marked)
        _store(tenant_id, marked, marked, count_spans(tenant_id, spans), settled)


#: What must be read of a roll-up before its messages are counted.
_MARKS = {"start": 1, "marks": 1, "marked_at": 1}


def _is_quiet(row: dict[str, Any], settled: datetime) -> bool:
    return row["marked_at"] is None or _utc(row["marked_at"]) <= settled


def _store(
    tenant_id: ObjectId,
    quarters: Iterable[datetime],
    marked: dict[datetime, dict[str, Any]],
    counted: Counted,
    settled: datetime,
) -> None:
    """Store what was counted, where nothing was announced since `marked` was read."""
    now = timezone.now()
    writes = []
    for quarter in quarters:
        row = marked.get(quarter)
        fresh = quarter not in counted.running and (row is None or _is_quiet(row, settled))
        figures = counted.quarters.get(quarter, Figures())
        writes.append(
            UpdateOne(
                {**quarter_key(tenant_id, quarter), "marks": row["marks"] if row else 0},
                {
                    "$set": {"live": figures.document(), "fresh": fresh, "updated_at": now},
                    "$setOnInsert": {"kept": {}, "marked_at": None, "created_at": now},
                },
                upsert=row is None,
            )
        )
    if not writes:
        return
    try:
        Rollup.collection().bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        # A duplicate: the quarter hour was announced meanwhile, and stays as it is.
        if any(failure["code"] != _DUPLICATE_KEY for failure in error.details["writeErrors"]):
            raise


def quarter_key(tenant_id: ObjectId, quarter: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "kind": Rollup.Kind.QUARTER.value,
        "start": quarter,
        "end": quarter + QUARTER,
    }


# -- days ----------------------------------------------------------------------


def _make_days(tenant_id: ObjectId, days: Sequence[Span]) -> None:
    made = {span for span, _ in stored_days(tenant_id, days, {"start": 1, "end": 1})}
    missing = [day for day in days if day not in made]
    for at in range(0, len(missing), _DAYS_AT_ONCE):
        some = missing[at : at + _DAYS_AT_ONCE]
        places = _places(tenant_id, some)  # Before the quarter hours are read: `mark` deletes them.
        writes = [
            UpdateOne(
                {"_id": places[day]}, {"$set": {"live": figures.document(with_whole=True), "fresh": True}}
            )
            for day, figures in _summed_days(tenant_id, some)
            if day in places and len(figures.users) + len(figures.visitors) <= MOST_PEOPLE_A_DAY
        ]
        if writes:
            Rollup.collection().bulk_write(writes, ordered=False)


def _places(tenant_id: ObjectId, days: Sequence[Span]) -> dict[Span, ObjectId]:
    """Return the ids of the days' documents, made here as empty ones where there are none."""
    now = timezone.now()
    empty = {"fresh": False, "marks": 0, "marked_at": None, "live": {}, "kept": {}}
    stamps = {"created_at": now, "updated_at": now}
    keys = [
        {"tenant_id": tenant_id, "kind": Rollup.Kind.DAY.value, "start": day.start, "end": day.end}
        for day in days
    ]
    Rollup.collection().bulk_write(
        [UpdateOne(key, {"$setOnInsert": empty | stamps}, upsert=True) for key in keys], ordered=False
    )
    rows = Rollup.collection().find(_days_match(tenant_id, days), {"start": 1, "end": 1})
    return {_span(row): row["_id"] for row in rows}


def _summed_days(tenant_id: ObjectId, days: Sequence[Span]) -> Iterator[tuple[Span, Figures]]:
    """Sum the quarter hours of each day, but for days of which one is not fresh."""
    rows = Rollup.collection().find(quarters_match(tenant_id, joined(days)), sort=[("start", 1)])
    row = next(rows, None)
    for day in days:
        figures, fresh = Figures(), True
        while row and _utc(row["start"]) < day.end:
            fresh &= row["fresh"]
            figures.add(Figures.from_document(row["live"]))
            figures.add(Figures.from_document(row["kept"]))
            row = next(rows, None)
        if fresh:
            yield day, figures


# -- for readers ---------------------------------------------------------------


def stored_days(
    tenant_id: ObjectId,
    days: Sequence[Span],
    projection: dict[str, int] | None = None,
    session: ClientSession | None = None,
) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Return those of `days` that are rolled up, with their documents."""
    if not days:
        return
    wanted = set(days)
    match = {**_days_match(tenant_id, days), "fresh": True}
    for row in Rollup.collection().find(match, projection, session=session):
        # A day of another zone may begin alike and end elsewhere.
        if (span := _span(row)) in wanted:
            yield span, row


def quarters_match(tenant_id: ObjectId, spans: Iterable[Span]) -> dict[str, Any]:
    """Return the condition that finds the quarter hours that begin within any of `spans`."""
    kind = Rollup.Kind.QUARTER.value
    return {
        "$or": [
            {"tenant_id": tenant_id, "kind": kind, "start": {"$gte": span.start, "$lt": span.end}}
            for span in spans
        ]
    }


def _days_match(tenant_id: ObjectId, days: Sequence[Span]) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "kind": Rollup.Kind.DAY.value,
        "start": {"$in": [day.start for day in days]},
    }


def _span(row: dict[str, Any]) -> Span:
    return Span(_utc(row["start"]), _utc(row["end"]))


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
