"""The figures of a period: from days where they are stored, else quarter hours, else messages.

One snapshot of the database is read, so that nothing is missed or counted twice while messages
finish, change or go. Whether roll-ups are there or not decides only how long it takes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from datetime import UTC, datetime

from bson import ObjectId
from django.utils import timezone
from pymongo.client_session import ClientSession

from chat.analytics import rollups
from chat.analytics.counting import count_spans
from chat.analytics.figures import Figures
from chat.analytics.models import Rollup
from chat.analytics.periods import QUARTER, Period, Span, joined, without


def read(tenant_id: ObjectId, period: Period) -> list[tuple[Span, Figures]]:
    """Return the figures of each interval of the period, having rolled up what can be."""
    rollups.refresh(tenant_id, period)
    client = Rollup.collection().database.client
    with client.start_session(snapshot=True) as snapshot:
        return _Reading(tenant_id, period, snapshot).read()


class _Reading:
    def __init__(self, tenant_id: ObjectId, period: Period, snapshot: ClientSession) -> None:
        self.tenant_id = tenant_id
        self.period = period
        self.snapshot = snapshot
        self.intervals = list(period.intervals())
        self._starts = [interval.start for interval in self.intervals]
        self._figures: list[Figures | None] = [None for _ in self.intervals]

    def read(self) -> list[tuple[Span, Figures]]:
        span = self.period.span
        covered = rollups.coverage(self.tenant_id, self.snapshot) or Span(span.start, span.start)
        days = self._read_days(covered)
        uncounted = self._read_quarters(without(span, days), covered)
        counted = count_spans(self.tenant_id, uncounted, self.snapshot)
        for quarter, figures in counted.quarters.items():
            self._add(quarter, figures)
        return [
            (span, figures or Figures()) for span, figures in zip(self.intervals, self._figures, strict=True)
        ]

    def _read_days(self, covered: Span) -> list[Span]:
        """Add the days that are stored; return them in order."""
        if self.period.interval == "hour":
            return []
        days = replace(self.period, span=self.period.span & covered).whole_days()
        found = []
        for day, row in rollups.stored_days(self.tenant_id, days, session=self.snapshot):
            self._add(day.start, Figures.from_document(row["live"]))
            found.append(day)
        return sorted(found, key=lambda day: day.start)

    def _read_quarters(self, rest: list[Span], covered: Span) -> list[Span]:
        """Add what is kept per quarter hour; return the time whose messages are still to be counted."""
        if not rest:
            return []
        stale = []
        match = rollups.quarters_match(self.tenant_id, rest)
        for row in Rollup.collection().find(match, session=self.snapshot):
            start = row["start"].replace(tzinfo=UTC)
            quarter = Span(start, start + QUARTER)
            if self._is_asked_for(quarter):
                self._add(start, Figures.from_document(row["kept"]))
            if not row["fresh"]:
                stale.append(quarter)
            elif self.period.span.contains(quarter) and covered.contains(quarter):
                self._add(start, Figures.from_document(row["live"]))
        uncounted = []
        for span in rest:
            believed = without((span & covered).whole_quarters(), sorted(stale, key=lambda each: each.start))
            uncounted += without(span, believed)
        return joined(uncounted)

    def _is_asked_for(self, quarter: Span) -> bool:
        """True if the period holds all of the quarter hour, or all of it that has passed."""
        span = self.period.span
        return span.start <= quarter.start and (quarter.end <= span.end or timezone.now() <= span.end)

    def _add(self, moment: datetime, figures: Figures) -> None:
        at = bisect_right(self._starts, max(moment, self.period.span.start)) - 1
        if self._figures[at] is None:
            self._figures[at] = figures
        else:
            self._figures[at].add(figures)
