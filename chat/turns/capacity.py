"""How many turns and readers this worker runs at once: in all, per tenant and per caller.

Each of them holds a thread for as long as a provider needs, so each acquires a permit first: a turn before it
is accepted, a reader of a running reply before its response begins.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from django.conf import settings

from core.errors import LimitReached, Unavailable
from tenants.access import Access

#: The share of a worker's permits that one tenant can hold, whatever its plan.
TENANT_SHARE = 3 / 4

#: Permits of a tenant for each turn that its plan runs at once: the turn, and readers of its reply.
PERMITS_PER_TURN = 4
#: Permits that every tenant can hold.
MIN_PERMITS = 16

#: Permits of one user or visitor. A secret key acts for many people and has its tenant's.
CALLER_PERMITS = 16

RETRY_AFTER_SECONDS = 2


class WorkerBusy(Unavailable):
    default_code = "server_busy"
    default_detail = "This server runs as many answers as it can. Try again shortly."


class TooManyStreams(LimitReached):
    default_code = "too_many_streams"


class StreamPermit:
    """One permit, until `release`. As a context manager it is released if the block raises."""

    __slots__ = ("_counted",)

    def __init__(self, counted: tuple[Hashable, ...]) -> None:
        self._counted = counted

    def release(self) -> None:
        """Repeatable, in any thread."""
        with _lock:
            counted, self._counted = self._counted, ()
            for owner in counted:
                _held[owner] -= 1
                if not _held[owner]:
                    del _held[owner]

    close = release

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.release()


_held: Counter[Hashable] = Counter()
_lock = threading.Lock()

_WORKER = "worker"


def acquire_permit(access: Access) -> StreamPermit:
    """Acquire a permit for a turn or a reader of `access`. Raises TooManyStreams and WorkerBusy."""
    limits = _limits(access)
    with _lock:
        for owner, (limit, description) in limits.items():
            if limit is not None and _held[owner] >= limit:
                raise TooManyStreams(
                    f"This {description} has {limit} answers running or being read on this server, as many as"
                    " it can. Close some, or wait until they end.",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
        if _held[_WORKER] >= settings.STREAMS:
            raise WorkerBusy
        counted = (*limits, _WORKER)
        _held.update(counted)
    return StreamPermit(counted)


def _limits(access: Access) -> dict[Hashable, tuple[int | None, str]]:
    """Return limits and what they apply to, by owner."""
    limits: dict[Hashable, tuple[int | None, str]] = {
        access.tenant.pk: (tenant_limit(access.tenant.plan.concurrent_turns), "tenant")
    }
    if access.visitor is not None:
        limits[access.tenant.pk, access.visitor] = (CALLER_PERMITS, "visitor")
    elif access.user is not None:
        limits[access.tenant.pk, access.user.pk] = (CALLER_PERMITS, "user")
    return limits


def tenant_limit(concurrent_turns: int | None) -> int:
    """Return how many permits a tenant can hold on one worker."""
    share = max(1, int(settings.STREAMS * TENANT_SHARE))
    if concurrent_turns is None:
        return share
    return min(share, max(MIN_PERMITS, PERMITS_PER_TURN * concurrent_turns))
