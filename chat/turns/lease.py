"""The lease of a running reply: its worker renews it, and counts as dead once it has expired."""

from __future__ import annotations

import contextlib
import threading
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


#: `began`: since when this thread is within `suspending_expiry`, monotonic.
_block = threading.local()


def expiry_is_suspended() -> bool:
    """Whether leases can't be judged now: the database was, or is within this block, out of reach."""
    began: float | None = getattr(_block, "began", None)
    return time.monotonic() < _expiry_suspended_until or (began is not None and _is_long_since(began))


def _is_long_since(moment: float) -> bool:
    return time.monotonic() - moment > float(settings.TURN_LEASE_SECONDS) / SWEEPS_PER_LEASE


@contextlib.contextmanager
def suspending_expiry() -> Iterator[None]:
    """Suspend the expiry of leases for the length of one if the database is unreachable within the block.

    Living workers could not renew theirs in that time either: the first to read the database after an
    outage would interrupt all of their turns.
    """
    global _expiry_suspended_until
    began = _block.began = time.monotonic()
    unreachable = False
    try:
        yield
    except (PyMongoError, DatabaseError) as error:
        unreachable = is_unreachable(error)
        raise
    finally:
        _block.began = None
        if unreachable or _is_long_since(began):
            _expiry_suspended_until = time.monotonic() + settings.TURN_LEASE_SECONDS
