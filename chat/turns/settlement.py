"""What follows the end of a run: ledger entries, usage of the plan, counters of the session.

All of it is derived from the finished run and repeatable: ledger entries have a unique key, a reservation
is settled only while it exists, counters only grow. So a worker may die at any point, and the next sweep of
any worker does the rest. A sweep also interrupts the replies of dead workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain
from operator import itemgetter
from typing import Any

from bson import ObjectId
from django.conf import settings
from django.utils import timezone
from pymongo.errors import BulkWriteError

from chat.turns import metrics, replies
from chat.turns.finished_run import FinishedRun, ledger_entries, settlement_of
from chat.turns.lease import SWEEPS_PER_LEASE, suspending_expiry
from chat.turns.session_counters import update_sessions
from core.background import BackgroundThread
from core.jobs.models import SetAside
from core.jobs.set_aside import serve_each, set_member_aside
from core.mongo.engine.errors import is_unreachable
from tenants.models import LedgerEntry, Usage

logger = logging.getLogger(__name__)

#: Runs that end this close together are settled together.
GATHER_SECONDS = 0.1
SWEEP_BATCH = 200

#: Living workers settle their replies well within this time; older ones were left behind.
LEFT_BEHIND = timedelta(seconds=5)

_DUPLICATE_KEY = 11000

#: Runs to be settled soon, those that a failure left unsettled, and those being settled now.
_queue: list[FinishedRun] = []
_failed: list[FinishedRun] = []
_settling: list[FinishedRun] = []
_changed = threading.Condition()

#: Runs that were set aside and are stored nowhere else, with the time of the next try.
_kept: dict[str, tuple[datetime, FinishedRun]] = {}
MAX_KEPT = 1000

_swept_at = 0.0


def settle_soon(run: FinishedRun) -> None:
    """Settle a run within a fraction of a second, together with others that end meanwhile.

    If this process dies first, a sweep settles a stored reply. Of a run that is not stored the reservation
    expires, and a sweep settles it with the ledger entries that are written by then.
    """
    try:
        metrics.count_run(run)
    except Exception:  # Whatever it raises for this run, it is settled, or set aside, like any other.
        logger.warning("a run could not be counted in the metrics", exc_info=True)
    with _changed:
        _queue.append(run)
    _thread.wake()


def start() -> None:
    """Settle and sweep in this process from now on."""
    _thread.start()


def finish(within_seconds: float) -> None:
    """Return once everything in the queue is settled, or after `within_seconds`."""
    _thread.wake()
    with _changed:
        _changed.wait_for(lambda: not (_queue or _failed or _settling), within_seconds)


def _sweep_seconds() -> float:
    return float(settings.TURN_LEASE_SECONDS) / SWEEPS_PER_LEASE


def _work() -> None:
    global _swept_at
    with suspending_expiry():
        _settle_queue()
        if time.monotonic() - _swept_at >= _sweep_seconds():
            _swept_at = time.monotonic()
            sweep()


_thread = BackgroundThread("chat-settlement", _work, interval=_sweep_seconds, delay_seconds=GATHER_SECONDS)


def _settle_queue() -> None:
    with _changed:
        runs, failed = _queue[:], _failed[:]
        _queue.clear()
        _failed.clear()
        _settling[:] = runs + failed
    try:
        settle(runs + [run for run in failed if _renewed(run)])
        _retry_set_aside()
    except Exception:
        # Stored replies have `settled: False` and are found by the next sweep.
        with _changed:
            _failed.extend(run for run in runs + failed if run.session_id is None)
        raise
    finally:
        with _changed:
            _settling.clear()
            _changed.notify_all()


def _renewed(run: FinishedRun, seconds: float = 0.0) -> bool:
    """Renew the reservation, so that no sweep settles it between the ledger entries and the settlement.

    False if a sweep has settled it already.
    """
    lease_seconds = settings.TURN_LEASE_SECONDS + seconds
    return Usage.objects.renew(run.tenant_id, run.reservation_id, lease_seconds=lease_seconds)


def settle(runs: Sequence[FinishedRun]) -> None:
    """Write ledger entries, usage and counters of finished runs. Repeatable, also beside other workers.

    If one of them cannot be settled, whatever the reason, the others are: each is then settled alone, and
    that one is set aside and tried again later. Raises only if the database cannot be reached.
    """
    try:
        _settle_together(runs)
    except Exception as error:  # Whatever one of them raises, the others are settled.
        if is_unreachable(error):
            raise
        logger.warning("runs are settled one by one", extra={"runs": len(runs)}, exc_info=True)
        for run in runs:
            _settle_alone(run)


def _settle_together(runs: Sequence[FinishedRun]) -> None:
    if not runs:
        return
    entries = [ledger_entries(run) for run in runs]
    _insert_missing(list(chain.from_iterable(entries)))
    Usage.objects.settle_many(
        settlement_of(run.tenant_id, run.reservation_id, of_run, run.kept_bytes)
        for run, of_run in zip(runs, entries, strict=True)
    )
    stored = [run for run in runs if run.session_id is not None]
    update_sessions(stored)
    replies.mark_settled(stored)


def _settle_alone(run: FinishedRun) -> None:
    try:
        _settle_together([run])
    except Exception as error:  # Whatever it raises, the others are settled.
        if is_unreachable(error):
            raise
        due_at = set_member_aside(replies.SETTLEMENT, run.key, error, run.tenant_id)
        Usage.objects.end(run.tenant_id, run.reservation_id)  # It runs no more, whatever it has used.
        if run.session_id is None:
            _keep_until(due_at, run)
    else:
        SetAside.objects.clear(replies.SETTLEMENT, run.key)


def _keep_until(due_at: datetime, run: FinishedRun) -> None:
    """Keep a run that is not stored, with its reservation, to settle it again."""
    _renewed(run, (due_at - timezone.now()).total_seconds())
    _kept[run.key] = (due_at, run)
    while len(_kept) > MAX_KEPT:
        _kept.pop(next(iter(_kept)))


def _retry_set_aside() -> None:
    """Settle the runs that are due again, each alone, of those that are not stored."""
    now = timezone.now()
    for run in [run for due_at, run in _kept.values() if due_at <= now]:
        del _kept[run.key]
        if _renewed(run):
            _settle_alone(run)


def settle_ended(tenant_id: ObjectId) -> None:
    """Settle the turns of a tenant that have ended; until then they hold limits that they no longer use.

    Runs that are not stored are known only to the process that made them.
    """
    ended = replies.unsettled({"tenant_id": tenant_id}, limit=SWEEP_BATCH)
    with _changed:
        runs = [run for run in (*_queue, *_failed, *_settling) if run.session_id is None]
    settle(ended + [run for run in runs if run.tenant_id == tenant_id and run.key not in _kept])


def sweep() -> None:
    """Interrupt the replies of dead workers, settle what they left, free reservations that nothing uses."""
    now = timezone.now()
    settle([FinishedRun.of(reply) for reply in replies.interrupt_expired(SWEEP_BATCH)])
    settle(replies.unsettled({"finished_at": {"$lt": now - LEFT_BEHIND}}, limit=SWEEP_BATCH))
    _clear_settled()
    serve_each(
        "expired reservations",
        Usage.objects.expired(now),
        lambda reservation: _settle_expired(*reservation),
        key=itemgetter(1),
        tenant=itemgetter(0),
    )


def _clear_settled() -> None:
    """Clear the records of replies that were set aside and are settled by now."""
    for key in SetAside.objects.of(replies.SETTLEMENT):
        if replies.is_settled(key):
            SetAside.objects.clear(replies.SETTLEMENT, key)


def _settle_expired(tenant_id: ObjectId, reservation_id: ObjectId) -> None:
    # Not in use: its worker died before it stored the reply, or the run is one that is not stored.
    if not replies.is_in_use(reservation_id):
        entries = list(LedgerEntry.collection().find({"reply": reservation_id}))
        Usage.objects.settle_many([settlement_of(tenant_id, reservation_id, entries)])


def _insert_missing(entries: list[dict[str, Any]]) -> None:
    """Write ledger entries; those that an earlier try has written stay as they are."""
    if not entries:
        return
    try:
        LedgerEntry.collection().insert_many(entries, ordered=False)
    except BulkWriteError as error:
        # A duplicate counts as written once a majority has it.
        unwritten = [failure for failure in error.details["writeErrors"] if failure["code"] != _DUPLICATE_KEY]
        if unwritten or error.details["writeConcernErrors"]:
            raise
