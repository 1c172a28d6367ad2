"""What follows a reply's final state: ledger, quota, the session's counters.

All of it is derived from the reply and repeatable: ledger entries have a unique
key, a reservation is settled only while it is there, counters only grow to the
reply's own number. So a worker may die at any point; the next sweep of any
worker does it again. A sweep also ends the replies of dead workers.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from chat.analytics.deletion import remove_messages
from chat.models import ChatSession, Message
from core.mongo.engine.errors import is_unreachable
from tenants.billing.counters import Settlement
from tenants.models import LedgerEntry, Usage

logger = logging.getLogger("chat.turns.settlement")

GATHER_SECONDS = 0.1
SWEEP_BATCH = 200

#: How often a sweep goes out, and how long the database keeps us waiting when it is away: shares of a lease.
SWEEPS_PER_LEASE = 3

#: Replies of living workers are settled well within this time; older ones were left behind.
LEFT_BEHIND = timedelta(seconds=5)

#: What a reply says whose server stopped before it was whole.
INTERRUPTED = {"kind": "interrupted", "detail": "The server that was answering stopped."}

_queue: list[dict] = []
_wake = threading.Event()
_lock = threading.Lock()
_settled = threading.Condition(_lock)
#: What the thread has taken from the queue and is settling.
_settling: list[dict] = []
_thread: threading.Thread | None = None

#: Until then (monotonic) no worker counts as dead: the database was away, and those alive could not say so.
_trust_from = 0.0


def settle_soon(reply: dict) -> None:
    """Settle a finished reply within a fraction of a second, with others that finish meanwhile.

    A run of the OpenAI-compatible endpoint comes as a reply without a session: it is billed and not kept.
    Should this process die first, the lease of its reservation runs out, and a sweep settles it with what
    the ledger has of it by then.
    """
    with _lock:
        _queue.append(reply)
    start()
    _wake.set()


def start() -> None:
    """Have this process settle and sweep from now on."""
    global _thread
    with _lock:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_work, name="chat-settlement", daemon=True)
            _thread.start()


def finish(within_seconds: float) -> None:
    """Return once all that was to be settled soon is settled, or after so many seconds."""
    _wake.set()
    with _settled:
        _settled.wait_for(lambda: not (_queue or _settling), within_seconds)


def _work() -> None:
    global _settling
    sweep_seconds = settings.TURN_LEASE_SECONDS / SWEEPS_PER_LEASE
    swept_at = 0.0
    while True:
        _wake.wait(sweep_seconds)
        _wake.clear()
        time.sleep(GATHER_SECONDS)
        with _lock:
            replies = _queue[:]
            _queue.clear()
            _settling = replies
        try:
            with noticing_outages():
                settle([reply for reply in replies if _may_be_settled(reply)])
                if time.monotonic() - swept_at >= sweep_seconds:
                    swept_at = time.monotonic()
                    sweep()
        except (PyMongoError, DatabaseError):
            # Nothing is lost: the replies say `settled: false` and the next sweep finds them.
            logger.warning("settlement failed", exc_info=True)
            _try_again([reply for reply in replies if reply["session_id"] is None])
        except Exception:
            logger.exception("settlement broke")
        finally:
            with _settled:
                _settling = []
                _settled.notify_all()


def _try_again(runs: Sequence[dict]) -> None:
    """Settle runs later that are stored nowhere."""
    with _lock:
        _queue.extend({**run, "tried": True} for run in runs if not run["settled"])


def _may_be_settled(reply: dict) -> bool:
    """False for a run that was tried before and whose reservation a sweep has settled since.

    Otherwise it is renewed, so that no sweep does that between the ledger's entry and the settlement.
    """
    return not reply.get("tried") or Usage.objects.renew(
        reply["tenant_id"], reply["reservation"], lease_seconds=settings.TURN_LEASE_SECONDS
    )


@contextlib.contextmanager
def noticing_outages() -> Iterator[None]:
    """Have no worker counted as dead for a lease's time if the database is away within.

    Workers that live could not renew their leases either, and whoever is first to ask when the database
    is back would end their turns.
    """
    global _trust_from
    began = time.monotonic()
    away = False
    try:
        yield
    except (PyMongoError, DatabaseError) as error:
        away = is_unreachable(error)
        raise
    finally:
        if away or time.monotonic() - began > settings.TURN_LEASE_SECONDS / SWEEPS_PER_LEASE:
            _trust_from = time.monotonic() + settings.TURN_LEASE_SECONDS


def settle(replies: Sequence[dict]) -> None:
    """Bring ledger, quota and sessions in step with final replies. Repeatable."""
    replies = [reply for reply in replies if reply["settled"] is False]
    if not replies:
        return
    _write_ledger([entry for reply in replies for entry in ledger_entries(reply)])
    Usage.objects.settle_many(_settlement(reply) for reply in replies)
    stored = [reply for reply in replies if reply["session_id"] is not None]
    _count_in_sessions(stored)
    for run in {reply["run"] for reply in stored}:
        ids = [reply["_id"] for reply in stored if reply["run"] == run]
        Message.collection().update_many(
            {"_id": {"$in": ids}, "run": run, "settled": False}, {"$set": {"settled": True}}
        )
    for reply in replies:
        reply["settled"] = True


def settle_ended(tenant_id: ObjectId) -> None:
    """Settle a tenant's turns that have ended; until then they hold what they no longer use.

    Runs that are stored nowhere are known to the process that made them only.
    """
    ended = list(Message.collection().find({"settled": False, "tenant_id": tenant_id}, limit=SWEEP_BATCH))
    with _lock:
        runs = [run for run in (*_queue, *_settling) if run["session_id"] is None]
    settle(ended + [run for run in runs if run["tenant_id"] == tenant_id])


def sweep() -> None:
    """End the replies whose worker is dead, settle what was left behind, free lost reservations."""
    now = timezone.now()
    dead = Message.collection().find(
        {"status": Message.Status.STREAMING.value, "lease_until": {"$lt": now}}, limit=SWEEP_BATCH
    )
    settle([ended for reply in dead if (ended := end_if_dead(reply))])
    left = Message.collection().find(
        {"settled": False, "finished_at": {"$lt": now - LEFT_BEHIND}}, limit=SWEEP_BATCH
    )
    settle(list(left))
    for tenant_id, reservation in Usage.objects.expired(now):
        running = Message.collection().find_one(
            {"reservation": reservation, "status": Message.Status.STREAMING.value}, {"_id": 1}
        )
        unsettled = Message.collection().find_one({"settled": False, "reservation": reservation}, {"_id": 1})
        # Neither: its worker died between reserving and storing, or it is a run that is stored nowhere else.
        if running is None and unsettled is None:
            entered = list(LedgerEntry.collection().find({"reply": reservation}))
            Usage.objects.settle_many([_sum(tenant_id, reservation, entered)])


def end_if_dead(reply: dict) -> dict | None:
    """Mark a running reply `interrupted` if its lease has run out; return it so, else None.

    The partial text stays. What it cost is unknown, because its receipt died with its worker.
    """
    if time.monotonic() < _trust_from:
        return None
    now = timezone.now()
    attempt = {
        "run": reply["run"],
        "target": f"{reply['provider']}/{reply['model']}",
        "provider": reply["provider"],
        "model": reply["model"],
        "outcome": "interrupted",
        "reason": INTERRUPTED["detail"],
        "cost": None,
        "cost_basis": "unpriced",
    }
    return Message.collection().find_one_and_update(
        {
            "_id": reply["_id"],
            "run": reply["run"],
            "status": Message.Status.STREAMING.value,
            "lease_until": {"$lt": now},
        },
        {
            "$set": {
                "status": Message.Status.INTERRUPTED.value,
                "error": INTERRUPTED,
                "finished_at": now,
                "updated_at": now,
                "lease_until": None,
                "settled": False,
            },
            "$push": {"attempts": attempt},
        },
        return_document=True,
    )


# -- what a reply counts for ------------------------------------------------------


def counts_as_message(reply: dict) -> bool:
    """Only what reached its reader counts against the month's messages."""
    status = Message.Status
    return reply["status"] == status.COMPLETE or (
        reply["status"] == status.CANCELLED and bool(reply["content"])
    )


def ledger_entries(reply: dict) -> list[dict[str, Any]]:
    """Return the ledger lines of the reply's last run; they sum up to its `_settlement`."""
    now = timezone.now()
    attempts = [attempt for attempt in reply["attempts"] if attempt["run"] == reply["run"]]
    return [
        {
            "tenant_id": reply["tenant_id"],
            "month": reply["month"],
            "session": reply["session_id"],
            "reply": reply["_id"],
            "run": reply["run"],
            "attempt": number,
            "api_key": reply.get("api_key"),
            "provider": attempt["provider"],
            "model": attempt.get("model_used") or attempt["model"],
            "outcome": attempt["outcome"],
            "input_tokens": attempt.get("input_tokens"),
            "output_tokens": attempt.get("output_tokens"),
            "messages": int(number == len(attempts) and counts_as_message(reply)),
            "tokens": billed_tokens(attempt),
            "cost": None if attempt["cost"] is None else Decimal128(attempt["cost"]),
            "cost_basis": attempt["cost_basis"],
            "created_at": now,
            "updated_at": now,
        }
        for number, attempt in enumerate(attempts, 1)
    ]


def billed_tokens(attempt: dict) -> int:
    """Tokens of answers count, and of failures those that the provider counted, as it charges for them."""
    if attempt["outcome"] not in ("ok", "cancelled") and attempt.get("tokens_estimated"):
        return 0
    return (attempt.get("input_tokens") or 0) + (attempt.get("output_tokens") or 0)


def _settlement(reply: dict) -> Settlement:
    return _sum(reply["tenant_id"], reply["reservation"], ledger_entries(reply))


def _sum(tenant_id: ObjectId, reservation: ObjectId, entries: Sequence[dict[str, Any]]) -> Settlement:
    costs = [entry["cost"].to_decimal() for entry in entries if entry["cost"] is not None]
    return Settlement(
        tenant_id=tenant_id,
        reservation_id=reservation,
        tokens=sum(entry["tokens"] for entry in entries),
        cost=sum(costs, Decimal(0)) if costs else None,
        messages=sum(entry["messages"] for entry in entries),
    )


def _write_ledger(entries: list[dict[str, Any]]) -> None:
    if not entries:
        return
    try:
        LedgerEntry.collection().insert_many(entries, ordered=False)
    except BulkWriteError as error:
        # Lines written by an earlier try are there to stay, once a majority has them.
        unwritten = [failure for failure in error.details["writeErrors"] if failure["code"] != 11000]
        if unwritten or error.details["writeConcernErrors"]:
            raise


def _count_in_sessions(replies: Sequence[dict]) -> None:
    """Each session's counters reach at least its newest settled reply; an untitled one gets a title."""
    if not replies:
        return
    writes = [
        UpdateOne(
            {"_id": reply["session_id"]},
            {
                "$max": {"message_count": reply["seq"], "last_message_at": reply["finished_at"]},
                "$set": {"updated_at": timezone.now()},
            },
        )
        for reply in replies
    ]
    untitled = [reply for reply in replies if reply["seq"] == 2]
    questions = Message.collection().find(
        {"_id": {"$in": [reply["in_reply_to_id"] for reply in untitled]}}, {"session_id": 1, "content": 1}
    )
    writes += [
        UpdateOne(
            {"_id": question["session_id"], "title": ""}, {"$set": {"title": title_of(question["content"])}}
        )
        for question in (questions if untitled else [])
    ]
    written = ChatSession.collection().bulk_write(writes, ordered=False)
    if written.matched_count < len(writes):
        _follow_erased(replies)


def _follow_erased(replies: Sequence[dict]) -> None:
    """Remove what was still being sent to a session while that was erased."""
    ids = {reply["session_id"] for reply in replies}
    present = {row["_id"] for row in ChatSession.collection().find({"_id": {"$in": list(ids)}}, {"_id": 1})}
    late = [reply for reply in replies if reply["session_id"] not in present]
    LedgerEntry.collection().update_many(
        {"reply": {"$in": [reply["_id"] for reply in late]}}, {"$set": {"session": None}}
    )
    for reply in late:
        remove_messages(reply["tenant_id"], [reply["in_reply_to_id"], reply["_id"]])


def title_of(question: str) -> str:
    """Return the first line of a question, cut at a word to at most 80 characters."""
    line = " ".join(question.split())
    if len(line) <= 80:
        return line
    return line[:79].rsplit(" ", 1)[0] + "…"
