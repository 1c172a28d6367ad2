"""The figures of a period: from months, days and quarter hours where they are rolled up, else messages.

One snapshot of the database is read, so that nothing is missed or counted twice while messages
finish, change or go. Whether roll-ups are there or not decides only how long it takes.
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
from chat.analytics.metrics import Figures, Summary
from chat.analytics.models import Rollup
from chat.analytics.periods import Interval, Period, Span, joined, span_at, without
from chat.analytics.rollup_store import quarters_match, span_of


def read(tenant_id: ObjectId, period: Period) -> tuple[Figures, list[tuple[Span, Summary]]]:
    """Return the figures of the whole period and the summary of each of its intervals.

    What can be rolled up and is not, is rolled up first.
    """
    rollups.refresh(tenant_id, period)
    client = Rollup.collection().database.client
    with client.start_session(snapshot=True) as snapshot:
        return _Reading(tenant_id, period, snapshot).read()


class _Reading:
    def __init__(self, tenant_id: ObjectId, period: Period, snapshot: ClientSession) -> None:
        self.tenant_id = tenant_id
        self.period = period
        self.snapshot = snapshot
        self.covered = rollups.coverage(tenant_id, snapshot) or Span(period.span.start, period.span.start)
        self.intervals = list(period.intervals())
        self.totals = Figures()
        #: The time whose figures the totals lack, and the intervals that are to be summed up.
        self.lacking = [period.span]
        self.unsummed: dict[Span, Figures] = {}

    def read(self) -> tuple[Figures, list[tuple[Span, Summary]]]:
        summaries: dict[Span, Summary] = {}
        if self.period.interval != "hour":
            summaries = dict(self._stored_summaries())
            self._read_months()
        self.unsummed = {span: Figures() for span in self.intervals if span not in summaries}
        rest = joined([*self.lacking, *self.unsummed])
        if self.period.interval != "hour":
            rest = self._read_days(rest)
        rest = self._read_quarters(rest)
        for quarter, figures in count_spans(self.tenant_id, rest, self.snapshot).quarters.items():
            self._add(quarter, figures)
        summaries |= {span: figures.summary() for span, figures in self.unsummed.items()}
        return self.totals, [(span, summaries[span]) for span in self.intervals]

    def _stored_summaries(self) -> Iterator[tuple[Span, Summary]]:
        kind = self.period.interval
        return calendar_rollups.read_summaries(self.tenant_id, kind, self._rolled_up(kind), self.snapshot)

    def _read_months(self) -> None:
        months = self._rolled_up("month")
        for month, figures in calendar_rollups.read_figures(self.tenant_id, "month", months, self.snapshot):
            self.totals.add(figures)
            self.lacking = [rest for span in self.lacking for rest in without(span, [month])]

    def _read_days(self, rest: list[Span]) -> list[Span]:
        """Add the days that are stored; return the time whose figures are still lacking."""
        days = [day for day in self._rolled_up("day") if span_at(rest, day.start)]
        found = []
        for day, figures in calendar_rollups.read_figures(self.tenant_id, "day", days, self.snapshot):
            self._add(day.start, figures)
            found.append(day)
        found.sort(key=lambda day: day.start)
        return [part for span in rest for part in without(span, found)]

    def _rolled_up(self, kind: Interval) -> list[Span]:
        return replace(self.period, span=self.period.span & self.covered).whole(kind)

    def _read_quarters(self, rest: list[Span]) -> list[Span]:
        """Add what is kept per quarter hour; return the time whose messages are still to be counted."""
        if not rest:
            return []
        stale = []
        rows = Rollup.collection().find(
            quarters_match(self.tenant_id, rest), session=self.snapshot, sort=[("start", 1)]
        )
        for row in rows:
            quarter = span_of(row)
            if self._is_asked_for(quarter):
                self._add(quarter.start, Figures.from_document(row["kept"]))
            if not row["fresh"]:
                stale.append(quarter)
            elif self.period.span.contains(quarter) and self.covered.contains(quarter):
                self._add(quarter.start, Figures.from_document(row["live"]))
        uncounted = []
        for span in rest:
            believed = without((span & self.covered).whole_quarters(), stale)
            uncounted += without(span, believed)
        return joined(uncounted)

    def _is_asked_for(self, quarter: Span) -> bool:
        """True if the period holds all of the quarter hour, or all of it that has passed."""
        span = self.period.span
        return span.start <= quarter.start and (quarter.end <= span.end or timezone.now() <= span.end)

    def _add(self, moment: datetime, figures: Figures) -> None:
        """Add figures of a time that begins at `moment` to where they are lacking."""
        moment = max(moment, self.period.span.start)
        if span_at(self.lacking, moment):
            self.totals.add(figures)
        interval = span_at(self.intervals, moment)
        if interval in self.unsummed:
            self.unsummed[interval].add(figures)
