"""How roll-ups are found and written with pymongo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import InsertOne, UpdateOne
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


def quarters_match(tenant_id: ObjectId, spans: Iterable[Span]) -> dict[str, Any]:
    """Return the condition that finds the quarter hours that begin within any of `spans`."""
    kind = Rollup.Kind.QUARTER.value
    return {
        "$or": [
            {"tenant_id": tenant_id, "kind": kind, "start": {"$gte": span.start, "$lt": span.end}}
            for span in spans
        ]
    }


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
