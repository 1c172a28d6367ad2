"""The query of the analytics endpoint, and its response for the API's schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from chat.analytics.periods import FIRST_YEAR, INTERVALS, LAST_YEAR, MAX_INTERVALS, Period, Span, zone_named
from core.api.serializers import StrictSerializer
from core.time import in_milliseconds, now_in_milliseconds, utc

DEFAULT_DAYS = 30


class MomentField(serializers.CharField):
    """An ISO 8601 date or time. Without an offset it is in the time zone of the request."""

    default_error_messages = {
        "not_iso": "Not a date or time: write 2026-11-01, 2026-11-01T08:30 or 2026-11-01T08:30:00Z "
        "(and + as %2B).",
        "out_of_range": f"Choose a year from {FIRST_YEAR} to {LAST_YEAR}.",
    }

    def to_internal_value(self, data: Any) -> datetime:  # type: ignore[override]  # CharField's own is text
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

    def to_internal_value(self, data: Any) -> ZoneInfo:  # type: ignore[override]  # CharField's own is text
        name = super().to_internal_value(data)
        zone = zone_named(name)
        if zone is None:
            self.fail("unknown_zone")
        return zone


class PeriodSerializer(StrictSerializer):
    """`validated_data` is `{"period": Period}`."""

    interval = serializers.ChoiceField(
        INTERVALS, default="day", help_text="What the series is cut into, by the calendar of the time zone."
    )
    tz = ZoneField(
        default=ZoneInfo("UTC"),  # type: ignore[arg-type]  # CharField's own is text
        help_text="Time zone, such as Europe/Berlin.",
    )

    default_error_messages = {
        "not_after": "The period must end after it begins.",
        "too_many": "This period has more than {most} intervals of a {interval}. "
        "Choose a longer interval or a shorter period.",
    }

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
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
            at_fault = "to" if "to" in attrs else "from"
            raise serializers.ValidationError({at_fault: self.error_messages["not_after"]}, "not_after")
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


# -- the response, as `analytics_data` builds it -------------------------------


class DurationPercentilesSerializer(serializers.Serializer[Any]):
    """Milliseconds, rounded by at most 1.25 %; null if there are no measurements."""

    p50 = serializers.IntegerField(allow_null=True)
    p95 = serializers.IntegerField(allow_null=True)
    p99 = serializers.IntegerField(allow_null=True)


@extend_schema_serializer(component_name="AnalyticsCost")
class CostSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField()
    total = serializers.CharField(help_text="Decimal.")
    reported = serializers.CharField(help_text="Decimal; as the provider reports it.")
    priced = serializers.CharField(help_text="Decimal; our prices on the provider's token counts.")
    estimated = serializers.CharField(help_text="Decimal; our prices on estimated token counts.")
    unpriced = serializers.IntegerField(help_text="Attempts whose cost is unknown.")


class AttemptCountsSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    failovers = serializers.IntegerField()
    waited_ms = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    # A field, which DRF's metaclass removes from the class: the property `errors` stays.
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.IntegerField(), help_text="Number by error kind."
    )


class ReplyCountsSerializer(serializers.Serializer[Any]):
    complete = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    failed = serializers.IntegerField()
    interrupted = serializers.IntegerField()


class TokenCountsSerializer(serializers.Serializer[Any]):
    input = serializers.IntegerField()
    output = serializers.IntegerField()
    cached = serializers.IntegerField()
    reasoning = serializers.IntegerField()


class FeedbackCountsSerializer(serializers.Serializer[Any]):
    up = serializers.IntegerField()
    down = serializers.IntegerField()


class ActiveCountsSerializer(serializers.Serializer[Any]):
    users = serializers.IntegerField()
    visitors = serializers.IntegerField()


class TargetMetricsSerializer(serializers.Serializer[Any]):
    replies = ReplyCountsSerializer()
    tokens = TokenCountsSerializer()
    cost = CostSerializer()
    latency_ms = DurationPercentilesSerializer()
    first_token_ms = DurationPercentilesSerializer()
    attempts = AttemptCountsSerializer()
    feedback = FeedbackCountsSerializer()


@extend_schema_serializer(component_name="ProviderShare")
class ProviderMetricsSerializer(TargetMetricsSerializer):
    provider = serializers.CharField()


@extend_schema_serializer(component_name="ModelShare")
class ModelMetricsSerializer(ProviderMetricsSerializer):
    model = serializers.CharField()


class SummarySerializer(TargetMetricsSerializer):
    sessions = serializers.IntegerField()
    messages = serializers.IntegerField()
    active = ActiveCountsSerializer()


class TotalsSerializer(SummarySerializer):
    providers = ProviderMetricsSerializer(many=True)
    models = ModelMetricsSerializer(many=True)


class ProviderAttemptsSerializer(serializers.Serializer[Any]):
    provider = serializers.CharField()
    attempts = AttemptCountsSerializer()


class IntervalSerializer(SummarySerializer):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    providers = ProviderAttemptsSerializer(many=True)


class AnalyticsSerializer(serializers.Serializer[Any]):
    to = serializers.DateTimeField()
    interval = serializers.ChoiceField(INTERVALS)
    tz = serializers.CharField()
    totals = TotalsSerializer()
    series = IntervalSerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}
