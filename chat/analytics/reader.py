"""Reads the metrics of a period: from months, days and quarter hours if rolled up, else from messages.

Everything is read from one snapshot of the database, so that nothing is missed or counted twice while
messages finish, change or are deleted. Which roll-ups exist decides only how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from bson import ObjectId
from django.utils import timezone
from pymongo.client_session import ClientSession

from chat.analytics import calendar_rollups, rollups
from chat.analytics.counting import count_spans
from chat.analytics.metrics import Metrics, Summary
from chat.analytics.models import Rollup
from chat.analytics.periods import Interval, Period, Span, merge, span_at, subtract
from chat.analytics.rollup_store import read_quarters


def read(tenant_id: ObjectId, period: Period) -> tuple[Metrics, list[tuple[Span, Summary]]]:
    """Return the metrics of the whole period and the summary of each of its intervals.

    Rolls up first what can be rolled up.
    """
    rollups.refresh(tenant_id, period)
    client = Rollup.collection().database.client
    with client.start_session(snapshot=True) as snapshot:
        return _PeriodReader(tenant_id, period, snapshot).read()


class _PeriodReader:
    def __init__(self, tenant_id: ObjectId, period: Period, snapshot: ClientSession) -> None:
        self.tenant_id = tenant_id
        self.period = period
        self.snapshot = snapshot
        self.covered = rollups.coverage(tenant_id, snapshot) or Span(period.span.start, period.span.start)
        self.intervals = list(period.intervals())
        self.totals = Metrics()
        #: The spans that `totals` does not include yet, and the intervals without a stored summary.
        self.missing_in_totals = [period.span]
        self.unsummarized: dict[Span, Metrics] = {}

    def read(self) -> tuple[Metrics, list[tuple[Span, Summary]]]:
        summaries: dict[Span, Summary] = {}
        if self.period.interval != "hour":
            summaries = dict(self._stored_summaries())
            self._read_months()
        self.unsummarized = {span: Metrics() for span in self.intervals if span not in summaries}
        unread = merge([*self.missing_in_totals, *self.unsummarized])
        if self.period.interval != "hour":
            unread = self._read_days(unread)
        unread = self._read_quarters(unread)
        for quarter, metrics in count_spans(self.tenant_id, unread, self.snapshot).quarters.items():
            self._add(quarter, metrics)
        summaries |= {span: metrics.summary() for span, metrics in self.unsummarized.items()}
        return self.totals, [(span, summaries[span]) for span in self.intervals]

    def _stored_summaries(self) -> Iterator[tuple[Span, Summary]]:
        kind = self.period.interval
        spans = self._full_intervals(kind)
        return calendar_rollups.read_summaries(self.tenant_id, kind, spans, self.snapshot)

    def _read_months(self) -> None:
        months = self._full_intervals("month")
        for month, metrics in calendar_rollups.read_metrics(self.tenant_id, "month", months, self.snapshot):
            self.totals.add(metrics)
            self.missing_in_totals = [
                part for span in self.missing_in_totals for part in subtract(span, [month])
            ]

    def _read_days(self, unread: list[Span]) -> list[Span]:
        """Add the days that are stored; return the spans that remain to be read."""
        days = [day for day in self._full_intervals("day") if span_at(unread, day.start)]
        found = []
        for day, metrics in calendar_rollups.read_metrics(self.tenant_id, "day", days, self.snapshot):
            self._add(day.start, metrics)
            found.append(day)
        found.sort(key=lambda day: day.start)
        return [part for span in unread for part in subtract(span, found)]

    def _full_intervals(self, kind: Interval) -> list[Span]:
        """Return the covered days, weeks or months of the period that are not cut short."""
        return replace(self.period, span=self.period.span & self.covered).full_intervals(kind)

    def _read_quarters(self, unread: list[Span]) -> list[Span]:
        """Add what is stored per quarter hour; return the spans whose messages remain to be counted."""
        if not unread:
            return []
        stale = []
        for span, is_fresh, current, archived in read_quarters(self.tenant_id, unread, self.snapshot):
            if self._includes_archive_of(span):
                self._add(span.start, Metrics.from_document(archived))
            if not is_fresh:
                stale.append(span)
            elif self.period.span.contains(span) and self.covered.contains(span):
                self._add(span.start, Metrics.from_document(current))
        uncounted = []
        for span in unread:
            added = subtract((span & self.covered).full_quarters(), stale)
            uncounted += subtract(span, added)
        return merge(uncounted)

    def _includes_archive_of(self, quarter: Span) -> bool:
        """Return whether the period contains the whole quarter hour, or all of it that has passed."""
        span = self.period.span
        return span.start <= quarter.start and (quarter.end <= span.end or timezone.now() <= span.end)

    def _add(self, start: datetime, metrics: Metrics) -> None:
        """Add the metrics of a span that begins at `start` where they are missing."""
        start = max(start, self.period.span.start)
        if span_at(self.missing_in_totals, start):
            self.totals.add(metrics)
        interval = span_at(self.intervals, start)
        if interval in self.unsummarized:
            self.unsummarized[interval].add(metrics)
