"""Stretches of time: quarter hours, the days of a time zone, and the intervals of a period."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Interval = Literal["hour", "day", "week", "month"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)

#: The unit of roll-ups. Since 2000 every zone's clock has differed from UTC by a multiple of it, so
#: each hour and day of each zone is made of whole ones.
QUARTER = timedelta(minutes=15)
FIRST_YEAR, LAST_YEAR = 2000, 2100

MAX_INTERVALS = 1000


@dataclass(frozen=True, slots=True)
class Span:
    """The time from `start` to `end`, the end excluded; both UTC."""

    start: datetime
    end: datetime

    def __bool__(self) -> bool:
        return self.start < self.end

    def __and__(self, other: Span) -> Span:
        """What both have in common; false if that is nothing."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def contains(self, other: Span) -> bool:
        return self.start <= other.start and other.end <= self.end

    def whole_quarters(self) -> Span:
        """The quarter hours that lie within, as one span."""
        return Span(ceil_quarter(self.start), floor_quarter(self.end))


def floor_quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def ceil_quarter(moment: datetime) -> datetime:
    floor = floor_quarter(moment)
    return floor if floor == moment else floor + QUARTER


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return the time of all of `spans` as the fewest spans, in order."""
    result: list[Span] = []
    for span in sorted(filter(None, spans), key=lambda span: span.start):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(span.end, result[-1].end))
        else:
            result.append(span)
    return result


def without(whole: Span, holes: Iterable[Span]) -> list[Span]:
    """Return what is left of `whole`. `holes` come in order and don't overlap."""
    rest, start = [], whole.start
    for hole in holes:
        rest.append(Span(start, min(hole.start, whole.end)))
        start = max(start, hole.end)
    rest.append(Span(start, whole.end))
    return [span for span in rest if span]


def span_at(spans: Sequence[Span], moment: datetime) -> Span | None:
    """Return the one of `spans` that `moment` lies in. They come in order and don't overlap."""
    at = bisect_right(spans, moment, key=lambda span: span.start) - 1
    return spans[at] if at >= 0 and moment < spans[at].end else None


@dataclass(frozen=True, slots=True)
class Period:
    """What is asked for: a span, cut into the hours, days, weeks or months of a zone's calendar.

    The first and the last interval may be cut short by the span.
    """

    span: Span
    interval: Interval
    zone: ZoneInfo

    def intervals(self) -> Iterator[Span]:
        return self._cut(self.interval)

    def whole(self, interval: Interval) -> list[Span]:
        """The days, weeks or months of the zone's calendar that lie within the span."""
        parts = list(self._cut(interval))
        if parts and parts[0].start != _start_of(parts[0].start, interval, self.zone):
            del parts[0]
        if parts and parts[-1].end != _after(parts[-1].start, interval, self.zone):
            del parts[-1]
        return parts

    def _cut(self, interval: Interval) -> Iterator[Span]:
        start = self.span.start
        while start < self.span.end:
            end = min(_after(start, interval, self.zone), self.span.end)
            yield Span(start, end)
            start = end


def _after(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return the first moment after `moment` at which another interval has begun."""
    local = moment.astimezone(zone)
    if interval == "hour":
        return _hour_end(moment, zone)
    today = local.date()
    while True:
        today = _next_date(today, interval)
        start = _day_start(today, zone)
        if start > moment:  # Not so for a day that a zone's calendar left out.
            return start


def _start_of(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return when the day, week or month of the moment began."""
    day = moment.astimezone(zone).date()
    if interval == "week":
        day -= timedelta(days=day.weekday())
    elif interval == "month":
        day = day.replace(day=1)
    return _day_start(day, zone)


def _hour_end(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clock next shows a full hour or is changed.

    So an hour that comes twice is two intervals, also on Chatham, where it is 3:45 that becomes 2:45.
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
    """Return the moment the day begins, which is not midnight where the clock then jumps to one."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
