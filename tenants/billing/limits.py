"""The limits of a plan, how much of each is taken, and the refusal that explains itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128
from bson.decimal128 import create_decimal128_context
from rest_framework.exceptions import APIException

from tenants.billing.plan import Plan

#: 34 digits, as the database keeps and adds them.
_DECIMAL128 = create_decimal128_context()

EMPTY_MONTH: Mapping[str, Any] = {}

_WHAT = {
    "requests_per_minute": "requests per minute",
    "concurrent_turns": "replies at the same time",
    "messages_per_month": "messages per month",
    "tokens_per_month": "tokens per month",
    "cost_per_month": "US dollars per month",
}


def money(amount: Decimal | None) -> Decimal:
    """Return an amount of US dollars as the database keeps it; an unknown one (None) adds nothing.

    Raises ValueError for amounts that are negative or no number.
    """
    if amount is None:
        return Decimal(0)
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is no amount of money.")
    return _DECIMAL128.create_decimal(amount)


def plain(amount: int | Decimal | None) -> int | str | None:
    """Return an amount as JSON shows it: counts as numbers, money as a string such as "0.25"."""
    if not isinstance(amount, Decimal):
        return amount
    return f"{amount.normalize():f}"


def month_of(moment: datetime) -> str:
    """Return the calendar month in UTC, as `2026-11`."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit of a plan. `limit` None is unlimited; `resets_at` None: when a running turn ends."""

    name: str
    limit: int | Decimal | None
    used: int | Decimal
    reserved: int | Decimal
    resets_at: datetime | None

    @property
    def remaining(self) -> int | Decimal | None:
        return None if self.limit is None else max(self.limit - self.used - self.reserved, 0 * self.limit)

    def seconds_left(self, now: datetime) -> int:
        """Return the whole seconds until the limit resets, at least 1."""
        return 1 if self.resets_at is None else max(1, math.ceil((self.resets_at - now).total_seconds()))

    def has_room_for(self, amount: int | Decimal) -> bool:
        return self.limit is None or self.used + self.reserved + amount <= self.limit


def standings(
    plan: Plan, *, minute_count: int, live: int, month: Mapping[str, Any], now: datetime
) -> list[Standing]:
    """Return every limit of `plan` with how much of it is taken, in the order they are explained."""

    def of_month(figure: str, zero: int | Decimal) -> Standing:
        name = f"{figure}_per_month"
        used, reserved = (number(month.get(key, zero)) for key in (figure, f"reserved_{figure}"))
        return Standing(name, getattr(plan, name), used, reserved, next_month(now))

    return [
        Standing(
            "requests_per_minute",
            plan.requests_per_minute,
            minute_count,
            0,
            minute_of(now) + timedelta(minutes=1),
        ),
        Standing("concurrent_turns", plan.concurrent_turns, live, 0, None),
        of_month("messages", 0),
        of_month("tokens", 0),
        of_month("cost", Decimal(0)),
    ]


def number(value: Any) -> int | Decimal:
    """Return a stored figure as Python counts it."""
    return value.to_decimal() if isinstance(value, Decimal128) else value


class LimitExceeded(APIException):
    """429: a limit of the tenant's plan, which one and how it stands.

    `resets_at` is None for running turns: the next one that ends makes room.
    """

    status_code = 429
    _codes = {"requests_per_minute": "rate_limited", "concurrent_turns": "too_many_turns"}

    def __init__(self, standing: Standing, now: datetime) -> None:
        super().__init__(_refusal(standing), self._codes.get(standing.name, "quota_exceeded"))
        self.standing = standing
        self.limit = standing.name
        self.scope = "tenant"
        self.resets_at = standing.resets_at
        self.retry_after_seconds = standing.seconds_left(now)
        # What core.api.errors adds to the answer.
        self.headers = {"Retry-After": str(self.retry_after_seconds)}
        self.extra = {"limit": {**as_json(standing), "scope": self.scope}}


class CountersBusy(APIException):
    """503: so many callers change the same counters that none could be read in time."""

    status_code = 503
    default_detail = "Usage can't be counted right now. Try again shortly."
    default_code = "counter_unavailable"
    headers = {"Retry-After": "1"}


def _refusal(standing: Standing) -> str:
    taken = f"{plain(standing.used)} used"
    if standing.reserved:
        taken += f" and {plain(standing.reserved)} reserved"
    until = f"after {_utc(standing.resets_at)}" if standing.resets_at else "once a running reply ends"
    return (
        f"The plan allows this tenant {plain(standing.limit)} {_WHAT[standing.name]}: {taken}. "
        f"Try again {until}."
    )


def as_json(standing: Standing) -> dict[str, Any]:
    """Return a limit as refusals and the usage page show it."""
    return {
        "name": standing.name,
        "limit": plain(standing.limit),
        "used": plain(standing.used),
        "reserved": plain(standing.reserved),
        "remaining": plain(standing.remaining),
        "resets_at": standing.resets_at and _utc(standing.resets_at),
    }


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
