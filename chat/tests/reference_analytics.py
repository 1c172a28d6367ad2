"""Analytics the plain way: one walk over all messages and sessions, in Python.

Written from the definitions in docs/analytics.md alone; shares no code with what it checks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

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
    """Return the totals, and the figures of each interval in which there is anything by `label`."""
    sessions = list(sessions)
    askers = {session["_id"]: session for session in sessions}
    parts: dict[Any, _Part] = defaultdict(_Part)
    total = _Part()
    for document, count in [(s, _Part.session) for s in sessions] + [(m, _Part.message) for m in messages]:
        moment = document["created_at"].replace(tzinfo=UTC)
        if start <= moment < end:
            for part in (total, parts[label(moment, interval, zone)]):
                count(part, document, askers)
    return total.told(), {name: part.told_of_interval() for name, part in parts.items() if part}


def label(moment: datetime, interval: str, zone: ZoneInfo) -> Any:
    """Return what tells the moment's interval from all others."""
    local = moment.astimezone(zone)
    return {
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": local.date(),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
    }[interval]


class _Share:
    def __init__(self) -> None:
        self.statuses: Counter = Counter()
        self.tokens: Counter = Counter()
        self.costs: dict[str, Decimal] = defaultdict(Decimal)
        self.unpriced = 0
        self.latencies: list[int] = []
        self.first_tokens: list[int] = []
        self.attempts: Counter = Counter()
        self.errors: Counter = Counter()
        self.feedback: Counter = Counter()

    def told(self) -> dict[str, Any]:
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


class _Part:
    def __init__(self) -> None:
        self.sessions = self.messages = 0
        self.users: set = set()
        self.visitors: set = set()
        self.whole = _Share()
        self.providers: dict[str, _Share] = defaultdict(_Share)
        self.models: dict[tuple[str, str], _Share] = defaultdict(_Share)

    def session(self, session: dict[str, Any], askers: dict) -> None:
        self.sessions += 1

    def message(self, message: dict[str, Any], askers: dict) -> None:
        if message["role"] == "user":
            self.messages += 1
            asker = askers[message["session_id"]]
            if asker["user_id"]:
                self.users.add(asker["user_id"])
            elif asker["visitor"]:
                self.visitors.add(asker["visitor"])
        elif message["status"] in STATUSES:
            for share in self._shares(message["provider"], message["model"]):
                _count_reply(share, message)
            self._count_attempts(message["attempts"])

    def _count_attempts(self, attempts: list[dict[str, Any]]) -> None:
        for at, attempt in enumerate(attempts):
            following = attempts[at + 1] if at + 1 < len(attempts) else None
            left = bool(
                following and following["run"] == attempt["run"] and following["target"] != attempt["target"]
            )
            model = attempt.get("model_used") or attempt["model"]
            for share in self._shares(attempt["provider"], model):
                _count_attempt(share, attempt, left)

    def _shares(self, provider: str, model: str) -> Iterator[_Share]:
        yield self.whole
        if provider:
            yield self.providers[provider]
            yield self.models[provider, model]

    def __bool__(self) -> bool:
        return self.told() != NOTHING.told()

    def told_of_interval(self) -> dict[str, Any]:
        told = self.told()
        del told["models"]
        told["providers"] = [
            {"provider": each["provider"], "attempts": each["attempts"]} for each in told["providers"]
        ]
        return told

    def told(self) -> dict[str, Any]:
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "active": {"users": len(self.users), "visitors": len(self.visitors)},
            **self.whole.told(),
            "providers": [
                {"provider": provider, **share.told()} for provider, share in sorted(self.providers.items())
            ],
            "models": [
                {"provider": provider, "model": model, **share.told()}
                for (provider, model), share in sorted(self.models.items())
            ],
        }


NOTHING = _Part()


def _count_reply(share: _Share, reply: dict[str, Any]) -> None:
    share.statuses[reply["status"]] += 1
    for kind in ("input", "output", "cached", "reasoning"):
        share.tokens[kind] += reply[f"{kind}_tokens"]
    if reply["feedback"]:
        share.feedback[reply["feedback"]["rating"]] += 1
    if reply["status"] == "complete":
        if reply["latency_ms"] is not None:
            share.latencies.append(reply["latency_ms"])
        if reply["first_token_ms"] is not None:
            share.first_tokens.append(reply["first_token_ms"])


def _count_attempt(share: _Share, attempt: dict[str, Any], left: bool) -> None:
    share.attempts["count"] += 1
    share.attempts["failovers"] += left
    for name in ("waited_ms", "input_tokens", "output_tokens"):
        share.attempts[name] += attempt.get(name, 0)
    if attempt["outcome"] not in ("ok", "cancelled", "interrupted"):
        share.errors[attempt["outcome"]] += 1
    if attempt["cost"] is None:
        share.unpriced += 1
    else:
        share.costs[attempt["cost_basis"]] += Decimal(attempt["cost"])


def percentiles(durations: list[int]) -> dict[str, int | None]:
    """Nearest rank of the rounded durations."""
    ordered = sorted(map(rounded, durations))
    return {
        f"p{percent}": ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else None
        for percent in (50, 95, 99)
    }


def rounded(ms: int) -> int:
    """Two significant digits and a bit: steps of 2, 5 or 10 in the third, by the first digit."""
    ms = min(ms, 10_000_000)
    if ms < 100:
        return ms
    power = len(str(ms)) - 3
    first = ms // 10 ** (power + 2)
    step = (2 if first < 2 else 5 if first < 5 else 10) * 10**power
    return (2 * ms + step) // (2 * step) * step


def comparable(told: Any) -> Any:
    """Return an answer of the API with its decimal strings as decimals."""
    if isinstance(told, dict):
        return {
            name: Decimal(value)
            if name in ("total", "reported", "priced", "estimated")
            else comparable(value)
            for name, value in told.items()
            if name not in ("start", "end")
        }
    return [comparable(each) for each in told] if isinstance(told, list) else told
