"""Figures that can be added up: of a quarter hour, a day, a year, all the same.

Whatever is added up, in whatever order, gives the figures of counting everything at once: sums
are integers and decimals, active people are sets, durations are histograms.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from bson import Binary, ObjectId

from chat.analytics.histogram import Histogram

#: What is counted of attempts.
ATTEMPT_COUNTS = (
    "attempts",
    "failovers",
    "waited_ms",
    "attempt_input_tokens",
    "attempt_output_tokens",
    "unpriced",
)


class Target(NamedTuple):
    """Who answered or was called. Both are empty for replies that have no answer."""

    provider: str
    model: str


@dataclass(slots=True)
class Share:
    """What concerns one target: counts by name, US dollars by basis, errors by kind."""

    counts: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Decimal] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)

    def add(self, other: Share) -> None:
        _add(self.counts, other.counts)
        _add(self.costs, other.costs)
        _add(self.errors, other.errors)
        self.latency.add(other.latency)
        self.first_token.add(other.first_token)

    def count(self, name: str) -> int:
        return self.counts.get(name, 0)


@dataclass(slots=True)
class Figures:
    """All figures of some stretch of time. `messages` are questions; people are digests."""

    sessions: int = 0
    messages: int = 0
    users: set[int] = field(default_factory=set)
    visitors: set[int] = field(default_factory=set)
    shares: dict[Target, Share] = field(default_factory=dict)

    def share(self, target: Target) -> Share:
        """Return the target's share, to be added to."""
        share = self.shares.get(target)
        if share is None:
            share = self.shares[target] = Share()
        return share

    def add(self, other: Figures) -> None:
        self.sessions += other.sessions
        self.messages += other.messages
        self.users |= other.users
        self.visitors |= other.visitors
        for target, share in other.shares.items():
            self.share(target).add(share)

    def by_provider(self) -> dict[str, Share]:
        """Return the sum of each provider's shares."""
        shares: dict[str, Share] = {}
        for target, share in self.shares.items():
            if target.provider:
                shares.setdefault(target.provider, Share()).add(share)
        return shares

    def summary(self) -> Summary:
        whole = Share()
        for share in self.shares.values():
            whole.add(share)
        people = len(self.users), len(self.visitors)
        return Summary(self.sessions, self.messages, *people, whole, self.by_provider())

    def document(self) -> dict[str, Any]:
        """Return the figures as they are stored.

        Names that come from data are values, never keys. What there is much of is packed, and costs are
        text: BSON's own numbers, arrays and decimals take ten times as long to read.
        """
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "users": packed(self.users),
            "visitors": packed(self.visitors),
            "shares": [
                {**target._asdict(), **_share_document(share)} for target, share in self.shares.items()
            ],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Figures:
        if not document:
            return cls()
        return cls(
            document["sessions"],
            document["messages"],
            unpacked(document["users"]),
            unpacked(document["visitors"]),
            {Target(row["provider"], row["model"]): _share(row) for row in document["shares"]},
        )


@dataclass(slots=True)
class Summary:
    """What is told of an interval. Summaries can't be added up: people are only numbers here."""

    sessions: int
    messages: int
    users: int
    visitors: int
    whole: Share
    providers: dict[str, Share]

    def document(self) -> dict[str, Any]:
        """Return what is stored; of the providers' shares their attempts alone."""
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "users": self.users,
            "visitors": self.visitors,
            "whole": _share_document(self.whole),
            "providers": [
                {
                    "provider": provider,
                    "counts": {name: share.count(name) for name in ATTEMPT_COUNTS},
                    "errors": _errors_document(share),
                }
                for provider, share in self.providers.items()
            ],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Summary:
        return cls(
            document["sessions"],
            document["messages"],
            document["users"],
            document["visitors"],
            _share(document["whole"]),
            {row["provider"]: Share(row["counts"], errors=_errors(row)) for row in document["providers"]},
        )


def person(tenant_id: ObjectId, kind: Literal["user", "visitor"], identity: object) -> int:
    """Return the digest that stands for a user or visitor in the tenant's figures: 64 bits, signed.

    The same person is counted once over any period. Among a million people the chance that any two
    share a digest is one in forty million.
    """
    digest = hashlib.blake2b(f"{kind}:{identity}".encode(), key=tenant_id.binary, digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def _add(to: dict[str, Any], other: dict[str, Any]) -> None:
    if not to:
        to.update(other)
        return
    for name, amount in other.items():
        to[name] = to.get(name, 0) + amount


def packed(people: set[int]) -> Binary:
    return Binary(struct.pack(f"<{len(people)}q", *people))


def unpacked(people: bytes) -> set[int]:
    return set(struct.unpack(f"<{len(people) // 8}q", people))


def _share_document(share: Share) -> dict[str, Any]:
    return {
        "counts": share.counts,
        "costs": {basis: str(cost) for basis, cost in share.costs.items()},
        "errors": _errors_document(share),
        "latency": share.latency.packed(),
        "first_token": share.first_token.packed(),
    }


def _share(row: dict[str, Any]) -> Share:
    return Share(
        row["counts"],
        {basis: Decimal(cost) for basis, cost in row["costs"].items()},
        _errors(row),
        Histogram.unpacked(row["latency"]),
        Histogram.unpacked(row["first_token"]),
    )


def _errors_document(share: Share) -> list[dict[str, Any]]:
    return [{"kind": kind, "count": count} for kind, count in share.errors.items()]


def _errors(row: dict[str, Any]) -> dict[str, int]:
    return {error["kind"]: error["count"] for error in row["errors"]}
