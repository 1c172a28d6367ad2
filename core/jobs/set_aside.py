"""Work on many members, of which one that fails is set aside: the others are served.

A member is a tenant, a reply, a delivery. One that raises is recorded (`core.jobs.models.SetAside`, which the
console shows), counted in the metrics and tried again after a while; the work goes on with the next one. A
database that cannot be reached is no fault of a member, and ends the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from bson import ObjectId
from prometheus_client import Counter

from core.jobs.models import SetAside
from core.metrics import registry
from core.mongo.engine.errors import is_unreachable

logger = logging.getLogger(__name__)

failures = Counter("set_aside", "Members of shared work that failed", ["work"], registry=registry)

Member = TypeVar("Member")
Result = TypeVar("Result")


@dataclass(slots=True)
class Outcome(Generic[Result]):
    """`results` of the members that were served, and the keys of those that failed now."""

    results: list[Result] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def problem(self) -> str:
        """A sentence for the log of the job; "" if no member failed."""
        return f"Set aside: {', '.join(self.failed[:10])}; {len(self.failed)} in all." if self.failed else ""


def serve_each(
    work: str,
    members: Iterable[Member],
    serve: Callable[[Member], Result],
    *,
    key: Callable[[Member], object],
    tenant: Callable[[Member], object] = lambda member: None,
) -> Outcome[Result]:
    """Call `serve` with each member, except those that are set aside and not due.

    `key` identifies a member within `work`, `tenant` returns the id of its tenant; both may fail too.
    Raises only if the database cannot be reached.
    """
    outcome: Outcome[Result] = Outcome()
    set_aside = SetAside.objects.of(work)
    for member in members:
        name = _attempt(partial(_key_of, key, member), "unreadable")
        earlier = set_aside.get(name)
        if earlier is not None and not earlier.is_due:
            continue
        try:
            outcome.results.append(serve(member))
        except Exception as error:  # Whatever one member raises, the others are served.
            if is_unreachable(error):
                raise
            set_member_aside(work, name, error, _attempt(partial(tenant, member), None))
            outcome.failed.append(name)
        else:
            if earlier is not None:
                SetAside.objects.clear(work, name)
    return outcome


@contextmanager
def setting_aside(work: str, key: object, tenant_id: object = None) -> Iterator[None]:
    """Set the member `key` aside if the block raises, and go on after it. Raises as `serve_each` does."""
    try:
        yield
    except Exception as error:  # Whatever one member raises, the others are served.
        if is_unreachable(error):
            raise
        set_member_aside(work, str(key), error, tenant_id)


def set_member_aside(work: str, key: str, error: Exception, tenant_id: object) -> datetime:
    """Record that a member failed, and return when it is to be tried again."""
    logger.error("set aside", extra={"work": work, "member": key}, exc_info=error)
    failures.labels(work).inc()
    reason = f"{type(error).__name__}: {error}"
    return SetAside.objects.record(work, key, reason, tenant_id if isinstance(tenant_id, ObjectId) else None)


def _key_of(key: Callable[[Member], object], member: Member) -> str:
    return str(key(member))


def _attempt(read: Callable[[], Result], otherwise: Result) -> Result:
    try:
        return read()
    except Exception:  # A member of which not even that can be read is set aside all the same.
        return otherwise
