"""Metrics of a span of time, which can be added up and stored.

The sum of the metrics of all parts of a span equals the metrics counted over the span at once: counts are
integers, costs are decimals, active people are sets, durations are histograms.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeVar

from bson import Binary, ObjectId

from chat.analytics.histogram import Histogram

Number = TypeVar("Number", int, Decimal)

#: The counts of `TargetMetrics` that are taken from attempts.
ATTEMPT_COUNTS = (
    "attempts",
    "failovers",
    "waited_ms",
    "attempt_input_tokens",
    "attempt_output_tokens",
    "unpriced",
)


class Target(NamedTuple):
    """The model that replied or was called. Both fields are empty for replies without an answer."""

    provider: str
    model: str


@dataclass(slots=True)
class TargetMetrics:
    """The metrics of one target: counts by name, US dollars by cost basis, errors by kind."""

    counts: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)

    def add(self, other: TargetMetrics) -> None:
        _add(self.counts, other.counts)
        _add(self.costs, other.costs)
        _add(self.errors, other.errors)
        self.latency.add(other.latency)
        self.first_token.add(other.first_token)

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)


@dataclass(slots=True)
class Metrics:
    """All metrics of a span of time.

    `messages` counts questions. `users` and `visitors` hold the `person_digest` of each who asked one.
    """

    sessions: int = 0
    messages: int = 0
    users: set[int] = field(default_factory=set)
    visitors: set[int] = field(default_factory=set)
    targets: dict[Target, TargetMetrics] = field(default_factory=dict)

    def target(self, target: Target) -> TargetMetrics:
        """Return the metrics of a target, to be added to."""
        metrics = self.targets.get(target)
        if metrics is None:
            metrics = self.targets[target] = TargetMetrics()
        return metrics

    def add(self, other: Metrics) -> None:
        self.sessions += other.sessions
        self.messages += other.messages
        self.users |= other.users
        self.visitors |= other.visitors
        for target, metrics in other.targets.items():
            self.target(target).add(metrics)

    def by_provider(self) -> dict[str, TargetMetrics]:
        """Return the sum over the models of each provider."""
        providers: dict[str, TargetMetrics] = {}
        for target, metrics in self.targets.items():
            if target.provider:
                providers.setdefault(target.provider, TargetMetrics()).add(metrics)
        return providers

    def summary(self) -> Summary:
        total = TargetMetrics()
        for metrics in self.targets.values():
            total.add(metrics)
        people = len(self.users), len(self.visitors)
        return Summary(self.sessions, self.messages, *people, total, self.by_provider())

    def document(self) -> dict[str, Any]:
        """Return the metrics as they are stored.

        Names that come from data are values, never keys. Sets and histograms are packed and costs are text,
        because BSON's own numbers, arrays and decimals take ten times as long to read.
        """
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "users": pack_digests(self.users),
            "visitors": pack_digests(self.visitors),
            "shares": [
                {**target._asdict(), **_target_document(metrics)} for target, metrics in self.targets.items()
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Metrics:
        """Return stored metrics; an empty document means no activity."""
        if not document:
            return cls()
        return cls(
            document["sessions"],
            document["messages"],
            unpack_digests(document["users"]),
            unpack_digests(document["visitors"]),
            {Target(row["provider"], row["model"]): _target_metrics(row) for row in document["shares"]},
        )


@dataclass(slots=True)
class Summary:
    """What the API shows of one interval. Summaries can't be added up: they hold people as counts."""

    sessions: int
    messages: int
    users: int
    visitors: int
    total: TargetMetrics
    providers: dict[str, TargetMetrics]

    def document(self) -> dict[str, Any]:
        """Return the summary as it is stored, of the providers only what `attempts` shows."""
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "users": self.users,
            "visitors": self.visitors,
            "whole": _target_document(self.total),
            "providers": [
                {
                    "provider": provider,
                    "counts": {name: metrics.count(name) for name in ATTEMPT_COUNTS},
                    "errors": _errors_document(metrics),
                }
                for provider, metrics in self.providers.items()
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Summary:
        return cls(
            document["sessions"],
            document["messages"],
            document["users"],
            document["visitors"],
            _target_metrics(document["whole"]),
            {
                row["provider"]: TargetMetrics(row["counts"], errors=_errors(row))
                for row in document["providers"]
            },
        )


def person_digest(tenant_id: ObjectId, kind: Literal["user", "visitor"], identity: object) -> int:
    """Return the signed 64-bit digest by which a user or visitor is counted in the tenant's metrics.

    Equal digests are counted once over any period. Among a million people the probability that any two
    share a digest is one in forty million.
    """
    digest = hashlib.blake2b(f"{kind}:{identity}".encode(), key=tenant_id.binary, digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def pack_digests(digests: set[int]) -> Binary:
    """Return the digests as little-endian 64-bit numbers."""
    return Binary(struct.pack(f"<{len(digests)}q", *digests))


def unpack_digests(packed: bytes) -> set[int]:
    return set(struct.unpack(f"<{len(packed) // 8}q", packed))


def _add(amounts: dict[str, Number], other: Mapping[str, Number]) -> None:
    if not amounts:
        amounts.update(other)
        return
    for name, amount in other.items():
        amounts[name] = amounts[name] + amount if name in amounts else amount


def _target_document(metrics: TargetMetrics) -> dict[str, Any]:
    return {
        "counts": metrics.counts,
        "costs": {basis: str(cost) for basis, cost in metrics.costs.items()},
        "errors": _errors_document(metrics),
        "latency": metrics.latency.pack(),
        "first_token": metrics.first_token.pack(),
    }


def _target_metrics(row: Mapping[str, Any]) -> TargetMetrics:
    return TargetMetrics(
        row["counts"],
        {basis: Decimal(cost) for basis, cost in row["costs"].items()},
        _errors(row),
        Histogram.unpack(row["latency"]),
        Histogram.unpack(row["first_token"]),
    )


def _errors_document(metrics: TargetMetrics) -> list[dict[str, Any]]:
    return [{"kind": kind, "count": count} for kind, count in metrics.errors.items()]


def _errors(row: Mapping[str, Any]) -> dict[str, int]:
    return {error["kind"]: error["count"] for error in row["errors"]}
