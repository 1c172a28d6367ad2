"""What is asked of the analytics endpoint."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from rest_framework import serializers

from chat.analytics.periods import FIRST_YEAR, INTERVALS, LAST_YEAR, MAX_INTERVALS, Period, Span
from core.api.serializers import StrictSerializer
from core.time import in_milliseconds, now_in_milliseconds, utc

DEFAULT_DAYS = 30


class MomentField(serializers.CharField):
    """An ISO 8601 date or time. Without an offset it is meant in the request's time zone."""

    default_error_messages = {
        "not_iso": "Not a date or time: write 2026-11-01, 2026-11-01T08:30 or 2026-11-01T08:30:00Z "
        "(and + as %2B).",
        "out_of_range": f"Choose a year from {FIRST_YEAR} to {LAST_YEAR}.",
    }

    def to_internal_value(self, data: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(super().to_internal_value(data))
        except ValueError:
            self.fail("not_iso")
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            self.fail("out_of_range")
        return moment


class ZoneField(serializers.CharField):
    """The name of a time zone in the IANA database."""

    default_error_messages = {
        "unknown_zone": "There is no such time zone: write UTC or a name such as Europe/Berlin."
    }

    def to_internal_value(self, data: Any) -> ZoneInfo:
        name = super().to_internal_value(data)
        if name not in _zone_names():
            self.fail("unknown_zone")
        return ZoneInfo(name)


@functools.cache
def _zone_names() -> set[str]:
    return available_timezones()


class PeriodSerializer(StrictSerializer):
    """`validated_data` is `{"period": Period}`."""

    interval = serializers.ChoiceField(
        INTERVALS, default="day", help_text="What the series is cut into, by the calendar of the time zone."
    )
    tz = ZoneField(default=ZoneInfo("UTC"), help_text="Time zone, such as Europe/Berlin.")

    default_error_messages = {
        "not_after": "The period must end after it begins.",
        "too_many": "This period has more than {most} intervals of a {interval}. "
        "Choose a longer interval or a shorter period.",
    }

    def get_fields(self) -> dict[str, serializers.Field]:
        first = f"First moment of the period. Default: so that it has {DEFAULT_DAYS} days, the last included."
        return {
            "from": MomentField(required=False, help_text=first),
            "to": MomentField(required=False, help_text="Its end, excluded. Default: now."),
            **super().get_fields(),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        zone, interval = attrs["tz"], attrs["interval"]
        end = _utc(attrs["to"], zone) if "to" in attrs else now_in_milliseconds()
        start = _utc(attrs["from"], zone) if "from" in attrs else _default_start(end, zone)
        if start >= end:
            raise serializers.ValidationError({"to": self.error_messages["not_after"]}, "not_after")
        period = Period(Span(start, end), interval, zone)
        if len(list(islice(period.intervals(), MAX_INTERVALS + 1))) > MAX_INTERVALS:
            message = self.error_messages["too_many"].format(most=MAX_INTERVALS, interval=interval)
            raise serializers.ValidationError({"interval": message}, "too_many")
        return {"period": period}


def _utc(moment: datetime, zone: ZoneInfo) -> datetime:
    return in_milliseconds(utc(moment if moment.tzinfo else moment.replace(tzinfo=zone)))


def _default_start(end: datetime, zone: ZoneInfo) -> datetime:
    last_day = (end - timedelta(milliseconds=1)).astimezone(zone).date()
    first_day = last_day - timedelta(days=DEFAULT_DAYS - 1)
    return datetime(first_day.year, first_day.month, first_day.day, tzinfo=zone).astimezone(UTC)
