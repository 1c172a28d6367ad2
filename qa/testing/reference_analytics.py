"""A reference implementation of analytics: one pass over all messages and sessions, in Python.

Written from the definitions in docs/analytics.md alone; shares no code with the implementation it checks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId

STATUSES = ("complete", "cancelled", "failed", "interrupted")


def recount(
    sessions: Iterable[dict[str, Any]],
    messages: Iterable[dict[str, Any]],
    *,
    start: datetime,
    end: datetime,
    interval: str,
    zone: ZoneInfo,
) -> tuple[dict[str, Any], dict[Any, dict[str, Any]]]:
    """Return the totals, and by `label` the metrics of each interval that is not empty."""
    sessions = list(sessions)
    sessions_by_id = {session["_id"]: session for session in sessions}
    intervals: dict[Any, _Metrics] = defaultdict(_Metrics)
    total = _Metrics()

    def metrics_at(moment: datetime) -> list[_Metrics]:
        moment = moment.replace(tzinfo=UTC)
        return [total, intervals[label(moment, interval, zone)]] if start <= moment < end else []

    for session in sessions:
        for metrics in metrics_at(session["created_at"]):
            metrics.count_session()
    for message in messages:
        for metrics in metrics_at(message["created_at"]):
            metrics.count_message(message, sessions_by_id)
    return total.as_json(), {name: each.interval_as_json() for name, each in intervals.items() if each}


def label(moment: datetime, interval: str, zone: ZoneInfo) -> Any:
    """Return a key of the interval that holds `moment`."""
    local = moment.astimezone(zone)
    return {
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": local.date(),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
    }[interval]


class _TargetMetrics:
    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.costs: dict[str, Decimal] = defaultdict(Decimal)
        self.unpriced = 0
        self.latencies: list[int] = []
        self.first_tokens: list[int] = []
        self.attempts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.feedback: Counter[str] = Counter()

    def as_json(self) -> dict[str, Any]:
        bases = {basis: self.costs[basis] for basis in ("reported", "priced", "estimated")}
        return {
            "replies": {status: self.statuses[status] for status in STATUSES},
            "tokens": {kind: self.tokens[kind] for kind in ("input", "output", "cached", "reasoning")},
            "cost": {"currency": "USD", "total": sum(bases.values()), **bases, "unpriced": self.unpriced},
            "latency_ms": percentiles(self.latencies),
            "first_token_ms": percentiles(self.first_tokens),
            "attempts": {
                **{
                    name: self.attempts[name]
                    for name in ("count", "failovers", "waited_ms", "input_tokens", "output_tokens")
                },
                "errors": dict(self.errors),
            },
            "feedback": {"up": self.feedback["up"], "down": self.feedback["down"]},
        }


class _Metrics:
    def __init__(self) -> None:
        self.sessions = self.messages = 0
        self.users: set[ObjectId] = set()
        self.visitors: set[str] = set()
        self.total = _TargetMetrics()
        self.providers: dict[str, _TargetMetrics] = defaultdict(_TargetMetrics)
        self.models: dict[tuple[str, str], _TargetMetrics] = defaultdict(_TargetMetrics)

    def count_session(self) -> None:
        self.sessions += 1

    def count_message(self, message: dict[str, Any], sessions: dict[ObjectId, dict[str, Any]]) -> None:
        if message["role"] == "user":
            self.messages += 1
            session = sessions[message["session_id"]]
            if session["user_id"]:
                self.users.add(session["user_id"])
            elif session["visitor"]:
                self.visitors.add(session["visitor"])
        elif message["status"] in STATUSES:
            for metrics in self._targets(message["provider"], message["model"]):
                _count_reply(metrics, message)
            self._count_attempts(message["attempts"])

    def _count_attempts(self, attempts: list[dict[str, Any]]) -> None:
        for at, attempt in enumerate(attempts):
            following = attempts[at + 1] if at + 1 < len(attempts) else None
            failed_over = bool(
                following and following["run"] == attempt["run"] and following["target"] != attempt["target"]
            )
            model = attempt.get("model_used") or attempt["model"]
            for metrics in self._targets(attempt["provider"], model):
                _count_attempt(metrics, attempt, failed_over)

    def _targets(self, provider: str, model: str) -> Iterator[_TargetMetrics]:
        yield self.total
        if provider:
            yield self.providers[provider]
            yield self.models[provider, model]

    def __bool__(self) -> bool:
        return self.as_json() != NOTHING.as_json()

    def interval_as_json(self) -> dict[str, Any]:
        metrics = self.as_json()
        del metrics["models"]
        metrics["providers"] = [
            {"provider": each["provider"], "attempts": each["attempts"]} for each in metrics["providers"]
        ]
        return metrics

    def as_json(self) -> dict[str, Any]:
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "active": {"users": len(self.users), "visitors": len(self.visitors)},
            **self.total.as_json(),
            "providers": [
                {"provider": provider, **metrics.as_json()}
                for provider, metrics in sorted(self.providers.items())
            ],
            "models": [
                {"provider": provider, "model": model, **metrics.as_json()}
                for (provider, model), metrics in sorted(self.models.items())
            ],
        }


NOTHING = _Metrics()


def _count_reply(metrics: _TargetMetrics, reply: dict[str, Any]) -> None:
    metrics.statuses[reply["status"]] += 1
    for kind in ("input", "output", "cached", "reasoning"):
        metrics.tokens[kind] += reply[f"{kind}_tokens"]
    if reply["feedback"]:
        metrics.feedback[reply["feedback"]["rating"]] += 1
    if reply["status"] == "complete":
        if reply["latency_ms"] is not None:
            metrics.latencies.append(reply["latency_ms"])
        if reply["first_token_ms"] is not None:
            metrics.first_tokens.append(reply["first_token_ms"])


def _count_attempt(metrics: _TargetMetrics, attempt: dict[str, Any], failed_over: bool) -> None:
    metrics.attempts["count"] += 1
    metrics.attempts["failovers"] += failed_over
    for name in ("waited_ms", "input_tokens", "output_tokens"):
        metrics.attempts[name] += attempt.get(name, 0)
    if attempt["outcome"] not in ("ok", "cancelled", "interrupted"):
        metrics.errors[attempt["outcome"]] += 1
    if attempt["cost"] is None:
        metrics.unpriced += 1
    else:
        metrics.costs[attempt["cost_basis"]] += Decimal(attempt["cost"])


def percentiles(durations: list[int]) -> dict[str, int | None]:
    """Return the nearest-rank percentiles of the rounded durations."""
    ordered = sorted(map(rounded, durations))
    return {
        f"p{percent}": ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None
        for percent in (50, 95, 99)
    }


def rounded(ms: int) -> int:
    """Round to two significant digits and a step in the third: 2, 5 or 10, by the first digit."""
    ms = min(ms, 10_000_000)
    if ms < 100:
        return ms
    power: int = 10 ** (len(str(ms)) - 3)
    first = ms // (power * 100)
    step = (2 if first < 2 else 5 if first < 5 else 10) * power
    return (2 * ms + step) // (2 * step) * step


def comparable(answer: Any) -> Any:
    """Return an answer of the API with decimals instead of decimal strings, and without interval bounds."""
    if isinstance(answer, dict):
        return {
            name: Decimal(value)
            if name in ("total", "reported", "priced", "estimated")
            else comparable(value)
            for name, value in answer.items()
            if name not in ("start", "end")
        }
    return [comparable(each) for each in answer] if isinstance(answer, list) else answer
