"""Times as the database and the API represent them: UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime


def now_in_milliseconds() -> datetime:
    """Return the current time as the database keeps it: equal before a document is stored and after."""
    return in_milliseconds(datetime.now(UTC))


def in_milliseconds(moment: datetime) -> datetime:
    """Return `moment` truncated to milliseconds."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def utc(moment: datetime) -> datetime:
    """Return a stored time, which is naive UTC, as an aware one; an aware one in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
