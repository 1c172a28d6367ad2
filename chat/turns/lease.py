"""The lease of a running reply: its worker renews it, and counts as dead once it has expired."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from pymongo.errors import PyMongoError

from core.mongo.engine.errors import is_unreachable

#: How often a worker looks for expired leases, and how long a slow database may take: shares of a lease.
SWEEPS_PER_LEASE = 3

#: Monotonic time until which no lease counts as expired in this process.
_expiry_suspended_until = 0.0


def expires_at(now: datetime) -> datetime:
    """Return when a lease that is taken or renewed `now` expires."""
    return now + timedelta(seconds=settings.TURN_LEASE_SECONDS)


def expiry_is_suspended() -> bool:
    return time.monotonic() < _expiry_suspended_until


@contextlib.contextmanager
def suspending_expiry() -> Iterator[None]:
    """Suspend the expiry of leases for the length of one if the database is unreachable within the block.

    Living workers could not renew theirs in that time either: the first to read the database after an
    outage would interrupt all of their turns.
    """
    global _expiry_suspended_until
    began = time.monotonic()
    unreachable = False
    try:
        yield
    except (PyMongoError, DatabaseError) as error:
        unreachable = is_unreachable(error)
        raise
    finally:
        if unreachable or time.monotonic() - began > settings.TURN_LEASE_SECONDS / SWEEPS_PER_LEASE:
            _expiry_suspended_until = time.monotonic() + settings.TURN_LEASE_SECONDS
