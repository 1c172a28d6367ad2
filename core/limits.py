"""One limit and how much of it is used: a rate of requests, or a limit of a tenant's plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """How much of a limit is used at `measured_at`.

    `name` is the policy ("auth.login", "tokens_per_month"). `limit` None is unlimited. `reserved` is held
    for running work. `resets_at` None: room is made when running work ends, not by the clock.
    `window_seconds` is the period of a rate, None for other limits.
    """

    name: str
    limit: int | Decimal | None
    used: int | Decimal
    measured_at: datetime
    resets_at: datetime | None
    reserved: int | Decimal = 0
    window_seconds: int | None = None

    @property
    def remaining(self) -> int | Decimal | None:
        """None if unlimited, never below zero."""
        return None if self.limit is None else max(self.limit - self.used - self.reserved, 0 * self.limit)

    @property
    def reset_seconds(self) -> int:
        """Whole seconds from `measured_at` until the limit resets, at least 1."""
        if self.resets_at is None:
            return 1
        return max(1, math.ceil((self.resets_at - self.measured_at).total_seconds()))

    def has_room_for(self, amount: int | Decimal) -> bool:
        return self.limit is None or self.used + self.reserved + amount <= self.limit
