"""Metrics as clients see them. `AnalyticsSerializer` describes the same for the API's schema.

Plain functions build the data: DRF's fields would take longer for thousands of intervals than reading them.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from chat.analytics.counting import COST_BASES
from chat.analytics.histogram import Histogram
from chat.analytics.metrics import Metrics, Summary, TargetMetrics
from chat.analytics.periods import Period, Span
from chat.models import FINAL

PERCENTS = (50, 95, 99)


def analytics_data(period: Period, totals: Metrics, series: list[tuple[Span, Summary]]) -> dict[str, Any]:
    """Return the response to a request for `period`: JSON values only."""
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


def _totals(metrics: Metrics) -> dict[str, Any]:
    summary = metrics.summary()
    return {
        **_summary(summary),
        "providers": [
            {"provider": provider, **_target(provider_metrics)}
            for provider, provider_metrics in sorted(summary.providers.items())
        ],
        "models": [
            {**target._asdict(), **_target(metrics.targets[target])}
            for target in sorted(metrics.targets)
            if target.provider
        ],
    }


def _interval(summary: Summary) -> dict[str, Any]:
    """Return the summary, of providers only the attempts: a year of days by model would be megabytes."""
    return {
        **_summary(summary),
        "providers": [
            {"provider": provider, "attempts": _attempts(metrics)}
            for provider, metrics in sorted(summary.providers.items())
        ],
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        "sessions": summary.sessions,
        "messages": summary.messages,
        "active": {"users": summary.users, "visitors": summary.visitors},
        **_target(summary.total),
    }


def _target(metrics: TargetMetrics) -> dict[str, Any]:
    return {
        "replies": {status: metrics.count(status) for status in FINAL},
        "tokens": {
            kind: metrics.count(f"{kind}_tokens") for kind in ("input", "output", "cached", "reasoning")
        },
        "cost": {
            "currency": "USD",
            "total": _decimal(sum(metrics.costs.values(), Decimal(0))),
            **{basis: _decimal(metrics.costs.get(basis, Decimal(0))) for basis in COST_BASES},
            "unpriced": metrics.count("unpriced"),
        },
        "latency_ms": _percentiles(metrics.latency),
        "first_token_ms": _percentiles(metrics.first_token),
        "attempts": _attempts(metrics),
        "feedback": {"up": metrics.count("up"), "down": metrics.count("down")},
    }


def _attempts(metrics: TargetMetrics) -> dict[str, Any]:
    return {
        "count": metrics.count("attempts"),
        "failovers": metrics.count("failovers"),
        "waited_ms": metrics.count("waited_ms"),
        "input_tokens": metrics.count("attempt_input_tokens"),
        "output_tokens": metrics.count("attempt_output_tokens"),
        "errors": dict(sorted(metrics.errors.items())),
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
