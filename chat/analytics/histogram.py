"""Histograms of durations, from which percentiles of any period can be computed.

Percentiles of parts can't be combined, histograms can. Durations are rounded before they are counted, so
a percentile computed from a year's roll-ups equals the one computed from the year's messages.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from bson import Binary

#: (limit, step): durations below `limit` ms are rounded to a multiple of `step` ms, by at most 1.25 %.
STEPS = [
    (100, 1),
    *((first * 10**power, first * 10 ** (power - 2)) for power in range(2, 7) for first in (2, 5, 10)),
]
#: Longer durations are counted as this one: 10,000 s.
MAX_MS = STEPS[-1][0]


def rounded_expression(field: str) -> dict[str, Any]:
    """Return the aggregation expression that rounds the duration at the path `field`, half up."""
    limited = {"$max": [0, {"$min": [field, MAX_MS]}]}

    def to_step(step: int) -> dict[str, Any]:
        return {"$multiply": [step, {"$floor": {"$divide": [{"$add": ["$$ms", step / 2]}, step]}}]}

    branches = [{"case": {"$lt": ["$$ms", limit]}, "then": to_step(step)} for limit, step in STEPS]
    return {
        "$let": {
            "vars": {"ms": limited},
            "in": {"$toInt": {"$switch": {"branches": branches, "default": "$$ms"}}},
        }
    }


class Histogram(dict[int, int]):
    """How often each rounded duration in ms occurred."""

    def add(self, other: Mapping[int, int]) -> None:
        if not self:
            self.update(other)
            return
        for value, count in other.items():
            self[value] = self.get(value, 0) + count

    def percentiles(self, *percents: int) -> list[int | None]:
        """Return nearest-rank percentiles: the lowest value that so many percent do not exceed, or None."""
        if not self:
            return [None for _ in percents]
        values = sorted(self)
        cumulated = list(accumulate(map(self.__getitem__, values)))
        total = cumulated[-1]
        return [values[bisect_left(cumulated, -(-total * percent // 100))] for percent in percents]

    def pack(self) -> Binary:
        """Return pairs of little-endian 32-bit numbers: a fraction of the size of BSON's own arrays."""
        numbers = [number for pair in sorted(self.items()) for number in pair]
        return Binary(struct.pack(f"<{len(numbers)}I", *numbers))

    @classmethod
    def unpack(cls, packed: bytes) -> Histogram:
        numbers = struct.unpack(f"<{len(packed) // 4}I", packed)
        return cls(zip(numbers[::2], numbers[1::2], strict=True))
