"""How figures are told to clients: plain data, and the same as serializers for the API's schema.

Serializing thousands of intervals through DRF would take longer than reading them.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from chat.analytics.counting import COST_BASES, FINAL
from chat.analytics.histogram import Histogram
from chat.analytics.metrics import Figures, Share, Summary
from chat.analytics.periods import INTERVALS, Period, Span

PERCENTS = (50, 95, 99)


def answer(period: Period, totals: Figures, series: list[tuple[Span, Summary]]) -> dict[str, Any]:
    return {
        "from": _time(period.span.start),
        "to": _time(period.span.end),
        "interval": period.interval,
        "tz": period.zone.key,
        "totals": _totals(totals),
        "series": [
            {"start": _time(span.start), "end": _time(span.end), **_interval(summary)}
            for span, summary in series
        ],
    }


def _totals(figures: Figures) -> dict[str, Any]:
    summary = figures.summary()
    return {
        **_overall(summary),
        "providers": [
            {"provider": provider, **_share(share)} for provider, share in sorted(summary.providers.items())
        ],
        "models": [
            {**target._asdict(), **_share(figures.shares[target])}
            for target in sorted(figures.shares)
            if target.provider
        ],
    }


def _interval(summary: Summary) -> dict[str, Any]:
    """A year of days with everything by model would be megabytes: of targets only the attempts are told."""
    return {
        **_overall(summary),
        "providers": [
            {"provider": provider, "attempts": _attempts(share)}
            for provider, share in sorted(summary.providers.items())
        ],
    }


def _overall(summary: Summary) -> dict[str, Any]:
    return {
        "sessions": summary.sessions,
        "messages": summary.messages,
        "active": {"users": summary.users, "visitors": summary.visitors},
        **_share(summary.whole),
    }


def _share(share: Share) -> dict[str, Any]:
    return {
        "replies": {status: share.count(status) for status in FINAL},
        "tokens": {
            kind: share.count(f"{kind}_tokens") for kind in ("input", "output", "cached", "reasoning")
        },
        "cost": {
            "currency": "USD",
            "total": _decimal(sum(share.costs.values(), Decimal(0))),
            **{basis: _decimal(share.costs.get(basis, Decimal(0))) for basis in COST_BASES},
            "unpriced": share.count("unpriced"),
        },
        "latency_ms": _percentiles(share.latency),
        "first_token_ms": _percentiles(share.first_token),
        "attempts": _attempts(share),
        "feedback": {"up": share.count("up"), "down": share.count("down")},
    }


def _attempts(share: Share) -> dict[str, Any]:
    return {
        "count": share.count("attempts"),
        "failovers": share.count("failovers"),
        "waited_ms": share.count("waited_ms"),
        "input_tokens": share.count("attempt_input_tokens"),
        "output_tokens": share.count("attempt_output_tokens"),
        "errors": dict(sorted(share.errors.items())),
    }


def _percentiles(histogram: Histogram) -> dict[str, int | None]:
    names = [f"p{percent}" for percent in PERCENTS]
    return dict(zip(names, histogram.percentiles(*PERCENTS), strict=True))


def _decimal(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(moment: datetime) -> str:
    unit = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=unit).replace("+00:00", "Z")


# -- for the schema ------------------------------------------------------------


def _counts(name: str, fields: tuple[str, ...]) -> serializers.Serializer:
    return type(name, (serializers.Serializer,), {field: serializers.IntegerField() for field in fields})()


class DurationPercentilesSerializer(serializers.Serializer):
    """Milliseconds, rounded by at most 1.25 %; null if there was nothing to measure."""

    p50 = serializers.IntegerField(allow_null=True)
    p95 = serializers.IntegerField(allow_null=True)
    p99 = serializers.IntegerField(allow_null=True)


class AnalyticsCostSerializer(serializers.Serializer):
    currency = serializers.CharField()
    total = serializers.CharField(help_text="Decimal.")
    reported = serializers.CharField(help_text="Decimal; the provider's own figures.")
    priced = serializers.CharField(help_text="Decimal; our prices on the provider's token counts.")
    estimated = serializers.CharField(help_text="Decimal; our prices on estimated token counts.")
    unpriced = serializers.IntegerField(help_text="Attempts whose cost is unknown.")


class AttemptCountsSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    failovers = serializers.IntegerField()
    waited_ms = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    errors = serializers.DictField(child=serializers.IntegerField(), help_text="Number by error kind.")


class ShareSerializer(serializers.Serializer):
    replies = _counts("ReplyCounts", FINAL)
    tokens = _counts("TokenCounts", ("input", "output", "cached", "reasoning"))
    cost = AnalyticsCostSerializer()
    latency_ms = DurationPercentilesSerializer()
    first_token_ms = DurationPercentilesSerializer()
    attempts = AttemptCountsSerializer()
    feedback = _counts("FeedbackCounts", ("up", "down"))


class ProviderShareSerializer(ShareSerializer):
    provider = serializers.CharField()


class ModelShareSerializer(ProviderShareSerializer):
    model = serializers.CharField()


class OverallSerializer(ShareSerializer):
    sessions = serializers.IntegerField()
    messages = serializers.IntegerField()
    active = _counts("ActiveCounts", ("users", "visitors"))


class TotalsSerializer(OverallSerializer):
    providers = ProviderShareSerializer(many=True)
    models = ModelShareSerializer(many=True)


class ProviderAttemptsSerializer(serializers.Serializer):
    provider = serializers.CharField()
    attempts = AttemptCountsSerializer()


class IntervalSerializer(OverallSerializer):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    providers = ProviderAttemptsSerializer(many=True)


class AnalyticsSerializer(serializers.Serializer):
    to = serializers.DateTimeField()
    interval = serializers.ChoiceField(INTERVALS)
    tz = serializers.CharField()
    totals = TotalsSerializer()
    series = IntervalSerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}
