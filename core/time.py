"""Times as the database and the API keep them: UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime


def now_in_milliseconds() -> datetime:
    """Return the time as the database keeps it: a document reads the same before and after it is stored."""
    return in_milliseconds(datetime.now(UTC))


def in_milliseconds(moment: datetime) -> datetime:
    """Return `moment` without what is below a millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def utc(moment: datetime) -> datetime:
    """Return a stored time, which is naive UTC, as an aware one; an aware one in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
