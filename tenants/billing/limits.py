"""The limits of a plan, how much of each is used, and the error that explains which one is reached."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128
from bson.decimal128 import create_decimal128_context

from core.errors import Conflict, LimitReached, Unavailable
from core.limits import LimitUsage
from tenants.billing.plan import Plan

#: 34 digits, as the database stores and adds them.
_DECIMAL128 = create_decimal128_context()

EMPTY_MONTH: Mapping[str, Any] = {}

_NOUNS = {
    "requests_per_minute": "requests per minute",
    "concurrent_turns": "replies at the same time",
    "messages_per_month": "messages per month",
    "tokens_per_month": "tokens per month",
    "cost_per_month": "US dollars per month",
    "sessions_per_day": "new conversations per day",
    "kept_bytes": "bytes of kept conversations",
}

#: The error code of each limit; of those of a month it is `quota_exceeded`.
_CODES = {
    "requests_per_minute": "rate_limited",
    "concurrent_turns": "too_many_turns",
    "sessions_per_day": "plan_limit",
}


class CountersBusy(Unavailable):
    """So many callers change the same counters that they could not be updated in time."""

    default_code = "counter_unavailable"
    default_detail = "Usage can't be counted right now. Try again shortly."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=1)


class KeptDataLimit(Conflict):
    """Room is made by deleting, not by waiting."""

    default_code = "plan_limit"


def limit_usages(
    plan: Plan,
    *,
    minute_count: int,
    running_turns: int,
    month: Mapping[str, Any],
    now: datetime,
    day_sessions: int = 0,
    kept_bytes: int = 0,
) -> list[LimitUsage]:
    """Return every limit of `plan` with how much of it is used, in the order in which errors name them.

    `month` holds the counters of the month as the database stores them.
    """

    def of_month(counter: str, zero: int | Decimal) -> LimitUsage:
        name = f"{counter}_per_month"
        used, reserved = (from_decimal128(month.get(key, zero)) for key in (counter, f"reserved_{counter}"))
        return LimitUsage(name, getattr(plan, name), used, now, next_month(now), reserved)

    return [
        LimitUsage(
            "requests_per_minute",
            plan.requests_per_minute,
            minute_count,
            measured_at=now,
            resets_at=minute_of(now) + timedelta(minutes=1),
            window_seconds=60,
        ),
        LimitUsage("concurrent_turns", plan.concurrent_turns, running_turns, measured_at=now, resets_at=None),
        of_month("messages", 0),
        of_month("tokens", 0),
        of_month("cost", Decimal(0)),
        LimitUsage("sessions_per_day", plan.sessions_per_day, day_sessions, now, next_day(now)),
        LimitUsage("kept_bytes", plan.kept_bytes, kept_bytes, measured_at=now, resets_at=None),
    ]


def plan_limit_reached(usage: LimitUsage) -> LimitReached | KeptDataLimit:
    """Return the error for a limit of the tenant's plan that has no room: which one, and when it resets."""
    if usage.name == "kept_bytes":
        return KeptDataLimit(
            f"The plan allows this tenant {usage.limit} {_NOUNS[usage.name]}: {usage.used} used. "
            "Delete conversations, or keep them for fewer days (retention_days).",
            extra={"limit": {**limit_data(usage), "scope": "tenant"}},
        )
    return LimitReached(
        _sentence(usage),
        _CODES.get(usage.name, "quota_exceeded"),
        usage=usage,
        extra={"limit": {**limit_data(usage), "scope": "tenant"}},
    )


def _sentence(usage: LimitUsage) -> str:
    counted = f"{json_amount(usage.used)} used"
    if usage.reserved:
        counted += f" and {json_amount(usage.reserved)} reserved"
    retry = f"after {_iso(usage.resets_at)}" if usage.resets_at else "once a running reply ends"
    return (
        f"The plan allows this tenant {json_amount(usage.limit)} {_NOUNS[usage.name]}: {counted}. "
        f"Try again {retry}."
    )


def limit_data(usage: LimitUsage) -> dict[str, Any]:
    """Return a limit as errors, the usage page and webhooks show it."""
    return {
        "name": usage.name,
        "limit": json_amount(usage.limit),
        "used": json_amount(usage.used),
        "reserved": json_amount(usage.reserved),
        "remaining": json_amount(usage.remaining),
        "resets_at": usage.resets_at and _iso(usage.resets_at),
    }


# -- amounts and periods ---------------------------------------------------------------


def usd(amount: Decimal | None) -> Decimal:
    """Return an amount of US dollars as the database stores it; an unknown one (None) adds nothing.

    Raises ValueError for an amount that is negative or not finite.
    """
    if amount is None:
        return Decimal(0)
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is not an amount of money.")
    return _DECIMAL128.create_decimal(amount)


def from_decimal128(value: Any) -> Any:
    """Return a stored counter as int or Decimal."""
    return value.to_decimal() if isinstance(value, Decimal128) else value


def json_amount(amount: int | Decimal | None) -> int | str | None:
    """Return an amount as JSON shows it: counts as numbers, money as a string such as "0.25"."""
    if not isinstance(amount, Decimal):
        return amount
    return f"{amount.normalize():f}"


def month_of(moment: datetime) -> str:
    """Return the calendar month in UTC, as `2026-11`."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def month_start(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    return (month_start(moment) + timedelta(days=32)).replace(day=1)


def day_of(moment: datetime) -> str:
    """Return the day in UTC, as `2026-11-27`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def next_day(moment: datetime) -> datetime:
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
