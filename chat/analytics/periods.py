"""Spans of time: quarter hours, and the hours, days, weeks and months of a time zone's calendar."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

Interval = Literal["hour", "day", "week", "month"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)

#: The unit of roll-ups. Since 2000 every zone has differed from UTC by a multiple of it, so each hour and
#: day of each zone consists of full ones.
QUARTER = timedelta(minutes=15)
FIRST_YEAR, LAST_YEAR = 2000, 2100

MAX_INTERVALS = 1000


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `start` until before `end`, both in UTC. False if empty."""

    start: datetime
    end: datetime

    def __bool__(self) -> bool:
        return self.start < self.end

    def __and__(self, other: Span) -> Span:
        """Return the intersection."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def contains(self, other: Span) -> bool:
        return self.start <= other.start and other.end <= self.end

    def full_quarters(self) -> Span:
        """Return the quarter hours that lie within, as one span."""
        return Span(ceil_quarter(self.start), floor_quarter(self.end))


def floor_quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def ceil_quarter(moment: datetime) -> datetime:
    floor = floor_quarter(moment)
    return floor if floor == moment else floor + QUARTER


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the union of `spans` as the fewest spans, in order."""
    result: list[Span] = []
    for span in sorted(filter(None, spans), key=lambda span: span.start):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(span.end, result[-1].end))
        else:
            result.append(span)
    return result


def subtract(span: Span, others: Iterable[Span]) -> list[Span]:
    """Return what remains of `span` without `others`, which are in order and don't overlap."""
    rest, start = [], span.start
    for other in others:
        rest.append(Span(start, min(other.start, span.end)))
        start = max(start, other.end)
    rest.append(Span(start, span.end))
    return [part for part in rest if part]


def span_at(spans: Sequence[Span], moment: datetime) -> Span | None:
    """Return the one of `spans` that contains `moment`. They are in order and don't overlap."""
    index = bisect_right(spans, moment, key=lambda span: span.start) - 1
    return spans[index] if index >= 0 and moment < spans[index].end else None


def zone_named(name: str) -> ZoneInfo | None:
    """Return the time zone of this name in the IANA database, None if there is none."""
    return ZoneInfo(name) if name in _zone_names() else None


@functools.cache
def _zone_names() -> set[str]:
    return available_timezones()


@dataclass(frozen=True, slots=True)
class Period:
    """A span, divided into the hours, days, weeks or months of a time zone's calendar.

    The span may begin or end within an interval, which is then cut short.
    """

    span: Span
    interval: Interval
    zone: ZoneInfo

    def intervals(self) -> Iterator[Span]:
        return self._divide(self.interval)

    def full_intervals(self, interval: Interval) -> list[Span]:
        """Return the days, weeks or months of the zone's calendar that lie within the span."""
        parts = list(self._divide(interval))
        if parts and parts[0].start != _start_of(parts[0].start, interval, self.zone):
            del parts[0]
        if parts and parts[-1].end != _next_start(parts[-1].start, interval, self.zone):
            del parts[-1]
        return parts

    def _divide(self, interval: Interval) -> Iterator[Span]:
        start = self.span.start
        while start < self.span.end:
            end = min(_next_start(start, interval, self.zone), self.span.end)
            yield Span(start, end)
            start = end


def _next_start(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return when the next interval after `moment` begins."""
    if interval == "hour":
        return _hour_end(moment, zone)
    day = moment.astimezone(zone).date()
    while True:
        day = _next_date(day, interval)
        start = _day_start(day, zone)
        if start > moment:  # Not so for a day that was left out of the zone's calendar.
            return start


def _start_of(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return when the day, week or month that contains `moment` began."""
    day = moment.astimezone(zone).date()
    if interval == "week":
        day -= timedelta(days=day.weekday())
    elif interval == "month":
        day = day.replace(day=1)
    return _day_start(day, zone)


def _hour_end(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return when local time next reaches a full hour, or its UTC offset changes.

    So a repeated hour is two intervals, also on Chatham, where 3:45 becomes 2:45.
    """
    local = moment.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    end = moment - into + timedelta(hours=1)
    step = ceil_quarter(moment + timedelta(milliseconds=1))
    while step < end and step.astimezone(zone).utcoffset() == local.utcoffset():
        step += QUARTER
    return min(step, end)


def _next_date(day: date, interval: Interval) -> date:
    if interval == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 - day.weekday() if interval == "week" else 1)


def _day_start(day: date, zone: ZoneInfo) -> datetime:
    """Return the first moment of the day: not midnight if the clock is put forward then."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
