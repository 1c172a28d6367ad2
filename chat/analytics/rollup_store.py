"""How roll-ups are found and written with pymongo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo import InsertOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError

from chat.analytics.models import Rollup
from chat.analytics.periods import QUARTER, Interval, Span
from core.time import utc

#: A write of `write_new`.
Write = InsertOne[dict[str, Any]] | UpdateOne

_DUPLICATE_KEY = 11000


def quarter_key(tenant_id: ObjectId, quarter: datetime) -> dict[str, Any]:
    """Return the unique key of the roll-up of a quarter hour."""
    return key(tenant_id, Rollup.Kind.QUARTER, Span(quarter, quarter + QUARTER))


def key(tenant_id: ObjectId, kind: Rollup.Kind, span: Span) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "kind": kind.value, "start": span.start, "end": span.end}


class QuarterRollup(NamedTuple):
    """The roll-up of a quarter hour. `current` and `archived` are stored metrics."""

    span: Span
    is_fresh: bool
    current: Mapping[str, Any]
    archived: Mapping[str, Any]


def read_quarters(
    tenant_id: ObjectId, spans: Iterable[Span], session: ClientSession | None = None
) -> Iterator[QuarterRollup]:
    """Yield the roll-ups of the quarter hours that begin within any of `spans`, in order.

    Not as instances of the model: a month has 3,000 of them.
    """
    kind = Rollup.Kind.QUARTER.value
    match = {
        "$or": [
            {"tenant_id": tenant_id, "kind": kind, "start": {"$gte": span.start, "$lt": span.end}}
            for span in spans
        ]
    }
    rows = Rollup.collection().find(match, session=session, sort=[("start", 1)])
    return (QuarterRollup(span_of(row), row["fresh"], row["live"], row["kept"]) for row in rows)


def calendar_match(tenant_id: ObjectId, kind: Interval, spans: Sequence[Span]) -> dict[str, Any]:
    """Return the condition that finds the roll-ups of `spans`.

    It may also find those of another time zone that begin at the same time and end at another.
    """
    return {
        "tenant_id": tenant_id,
        "kind": Rollup.Kind(kind).value,
        "start": {"$in": [span.start for span in spans]},
    }


def write_new(writes: Sequence[Write]) -> None:
    """Write in one round trip. A document that another process has inserted meanwhile stays as it is."""
    if not writes:
        return
    try:
        Rollup.collection().bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        if any(failure["code"] != _DUPLICATE_KEY for failure in error.details["writeErrors"]):
            raise


def span_of(row: Mapping[str, Any]) -> Span:
    """Return the span of a raw document that has at least `start` and `end`."""
    return Span(utc(row["start"]), utc(row["end"]))
