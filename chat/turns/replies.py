"""Every query of turns on the messages collection.

Raw pymongo, because each must be one round trip. A reply changes its state by one conditional update that
requires its `run` and its present status. So if several processes try to end or reopen it, one succeeds; and
a process that dies before or after the update leaves the reply in a valid state, which the next sweep of any
worker continues from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, cast

from bson import ObjectId
from django.utils import timezone
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from chat.models import FINAL, Message
from chat.turns import lease
from chat.turns.attempts import INTERRUPTED, interrupted_attempt
from chat.turns.finished_run import FinishedRun
from chat.turns.history import EarlierMessage, newest_within_bounds
from chat.turns.question import Question
from chat.turns.reply import Reply
from core.jobs.models import SetAside
from core.jobs.set_aside import serve_each, setting_aside
from core.mongo.engine.errors import is_unreachable
from core.mongo.ids import object_id
from core.mongo.text_search import inner_words
from llm.canonical import Target

logger = logging.getLogger(__name__)

Status = Message.Status

#: States from which a reply can be given another run.
RETRYABLE = tuple(status for status in FINAL if status != Status.COMPLETE)

#: The most runs of one reply: each adds its attempts to the document.
MAX_RUNS = 100

#: For how long the final state is written again while the database is unreachable.
FINAL_WRITE_SECONDS = 60.0
_FINAL_WRITE_PAUSE_SECONDS = 0.25

_DUPLICATE_KEY = 11000

#: What is done with many replies; one with which it fails is set aside.
SETTLEMENT, READING, INTERRUPTION = "settlement", "reading of replies", "interruption of replies"


class SessionMoved(Exception):
    """Another turn of the session was stored since its messages were read."""


class AlreadyAccepted(Exception):
    """A question with this Idempotency-Key is stored already."""


# -- accepting ---------------------------------------------------------------------------------


def insert_turn(question: Question, reply: Reply) -> Reply:
    """Store a question and its running reply in one round trip; return the reply as it is stored.

    From here on the message is accepted: if this process dies, the reply's lease expires and any worker
    interrupts it. If it dies before the insert, only a reservation is left, which expires. A database that
    fails within the insert may leave a question without a reply, which `insert_lost_reply` repairs.
    Raises SessionMoved and AlreadyAccepted.
    """
    try:
        Message.collection().insert_many([question.to_document(), _document(reply)])
    except BulkWriteError as error:
        # None if all were written, and no majority confirmed it in time.
        failure = next(iter(error.details["writeErrors"]), None)
        if failure is None or failure["code"] != _DUPLICATE_KEY:
            raise
        if failure["index"] == 0:
            raise (AlreadyAccepted if "idempotency" in failure["keyPattern"] else SessionMoved) from error
        # The question is stored, but a message of another turn has the place of its reply. The same message,
        # sent again meanwhile, may have got the reply from there.
        stored = insert_at_end(reply)
        if stored.id != reply.id:
            raise AlreadyAccepted from error
        return stored
    return reply


def insert_at_end(reply: Reply) -> Reply:
    """Store a reply after the session's last message; return it, or the one its question got meanwhile."""
    while True:
        last = Message.collection().find_one({"session_id": reply.session_id}, {"seq": 1}, sort=[("seq", -1)])
        reply = replace(reply, seq=last["seq"] + 1 if last else reply.seq)
        try:
            Message.collection().insert_one(_document(reply))
        except DuplicateKeyError:
            if stored := reply_to(reply.in_reply_to_id):
                return stored
        else:
            return reply


def _document(reply: Reply) -> dict[str, Any]:
    """Return the document of a new reply; a running one has a lease."""
    lease_until = lease.expires_at(reply.created_at) if reply.is_running else None
    return {**reply.to_document(), "lease_until": lease_until}


def begin_run(reply: Reply, *, target: Target, reservation_id: ObjectId, month: str) -> Reply | None:
    """Start another run of a reply; return it as it is then, None if it can have no other one.

    Requires that its last run is settled. Its usage stays that of the last run until this one ends. If this
    process dies before the update, the reservation expires; if it dies after, the lease.
    """
    if reply.run >= MAX_RUNS:
        return None
    now = timezone.now()
    document = Message.collection().find_one_and_update(
        {"_id": reply.id, "run": reply.run, "settled": True, "status": {"$in": RETRYABLE}},
        {
            "$set": {
                "run": reply.run + 1,
                "epoch": reply.epoch + 1,
                "status": Status.STREAMING.value,
                "content": "",
                "provider": target.provider,
                "model": target.model,
                "finish": "",
                "error": None,
                "finished_at": None,
                "lease_until": lease.expires_at(now),
                "cancel_requested": False,
                "settled": None,
                "reservation": reservation_id,
                "month": month,
                "updated_at": now,
            }
        },
        return_document=True,
    )
    return Reply.from_document(document) if document else None


# -- reading -----------------------------------------------------------------------------------


def find_reply(reply_id: ObjectId) -> Reply | None:
    document = Message.collection().find_one({"_id": reply_id})
    return Reply.from_document(document) if document else None


def find_replies(reply_ids: Sequence[ObjectId]) -> list[Reply]:
    """Return those that are stored. One that cannot be read is set aside, and is not among them."""
    found = []
    for document in Message.collection().find({"_id": {"$in": reply_ids}}):
        with setting_aside(READING, document["_id"], document.get("tenant_id")):
            found.append(Reply.from_document(document))
    return found


def reply_to(question_id: ObjectId) -> Reply | None:
    document = Message.collection().find_one({"in_reply_to_id": question_id})
    return Reply.from_document(document) if document else None


def find_question(question_id: ObjectId) -> Question | None:
    document = Message.collection().find_one({"_id": question_id})
    return Question.from_document(document) if document else None


def question_sent_with(idempotency_digest: str) -> Question | None:
    document = Message.collection().find_one({"idempotency": idempotency_digest})
    return Question.from_document(document) if document else None


def messages_before(question: Question, limit: int) -> list[EarlierMessage]:
    """Return the messages of the session before a question, at most `limit`, oldest first."""
    if not limit:
        return []
    fields = dict.fromkeys(("role", "content", "status", "seq"), 1)
    earlier = {"session_id": question.session_id, "seq": {"$lt": question.seq}}
    newest_first = Message.collection().aggregate([{"$match": earlier}, *newest_within_bounds(limit, fields)])
    return cast(list[EarlierMessage], list(newest_first)[::-1])


def contents_of(question_ids: Sequence[ObjectId]) -> Iterable[Mapping[str, Any]]:
    """Return `_id` and `content` of questions."""
    return Message.collection().find({"_id": {"$in": question_ids}}, {"content": 1})


# -- running -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The text of a running reply so far."""

    reply_id: ObjectId
    run: int
    epoch: int
    content: str
    target: Target


def checkpoint_all(checkpoints: Iterable[Checkpoint]) -> None:
    """Store the texts of running replies and renew their leases, in one round trip.

    A reply that another worker has ended in the meantime stays as it is.
    """
    now = timezone.now()
    lease_until = lease.expires_at(now)
    writes = [
        UpdateOne(
            {"_id": checkpoint.reply_id, "run": checkpoint.run, "status": Status.STREAMING.value},
            {
                "$set": {
                    "content": checkpoint.content,
                    "epoch": checkpoint.epoch,
                    "provider": checkpoint.target.provider,
                    "model": checkpoint.target.model,
                    "lease_until": lease_until,
                    "updated_at": now,
                }
            },
        )
        for checkpoint in checkpoints
    ]
    Message.collection().bulk_write(writes, ordered=False)


def request_cancel(reply_id: ObjectId) -> Reply | None:
    """Ask the worker that drives the reply to stop; return the reply as it is, None if it was deleted."""
    Message.collection().update_one(
        {"_id": reply_id, "status": Status.STREAMING.value}, {"$set": {"cancel_requested": True}}
    )
    return find_reply(reply_id)


def still_wanted(reply_ids: Sequence[ObjectId]) -> set[ObjectId]:
    """Return those that are running and not to be cancelled; a deleted one is not among them."""
    wanted = Message.collection().find(
        {"_id": {"$in": reply_ids}, "status": Status.STREAMING.value, "cancel_requested": False}, {"_id": 1}
    )
    return {row["_id"] for row in wanted}


# -- ending ------------------------------------------------------------------------------------


def write_final(reply: Reply) -> Reply | None:
    """Give a running reply its final state; return the state that is stored then, None if it was deleted.

    If another worker has ended the run, that state stays. Repeated while the database is unreachable: until
    it is stored the answer exists in this process only. If the process dies before, the lease expires and
    the text of the last checkpoint stays; if it dies after, `settled: False` is found by the next sweep.
    """
    deadline = time.monotonic() + FINAL_WRITE_SECONDS
    running = {"_id": reply.id, "run": reply.run, "status": Status.STREAMING.value}
    changes = {"$set": {**reply.final_columns(), "lease_until": None}}
    while True:
        try:
            stored = Message.collection().find_one_and_update(running, changes, return_document=True)
            # None: ended by another worker, or by an earlier write of this one whose response was lost.
            return Reply.from_document(stored) if stored else find_reply(reply.id)
        except PyMongoError as error:
            if not is_unreachable(error) or time.monotonic() > deadline:
                raise
            logger.warning("final state is not stored yet", extra={"reply": str(reply.id)})
            time.sleep(_FINAL_WRITE_PAUSE_SECONDS)


def interrupt_if_lease_expired(reply_id: ObjectId, run: int, target: Target) -> Reply | None:
    """Mark a running reply `interrupted` if its lease has expired; return it then, else None.

    The partial text stays. What the run cost is unknown, because its attempts were in the memory of a worker
    that is dead. A worker that was only slow finds its run ended when it writes its next state.
    """
    if lease.expiry_is_suspended():
        return None
    now = timezone.now()
    document = Message.collection().find_one_and_update(
        {"_id": reply_id, "run": run, "status": Status.STREAMING.value, "lease_until": {"$lt": now}},
        {
            "$set": {
                "status": Status.INTERRUPTED.value,
                "error": INTERRUPTED,
                "finished_at": now,
                "updated_at": now,
                "lease_until": None,
                "settled": False,
            },
            "$push": {"attempts": interrupted_attempt(run, target)},
        },
        return_document=True,
    )
    if document is None:
        return None
    if words := inner_words(document["content"]):  # its checkpoints have none
        ended = {"_id": reply_id, "run": run, "status": Status.INTERRUPTED.value}
        Message.collection().update_one(ended, {"$set": {"search_terms": words}})
    return Reply.from_document(document)


def interrupt_expired(limit: int, among: Sequence[ObjectId] | None = None) -> list[Reply]:
    """Interrupt the replies of dead workers, at most `limit`, or only `among` some; return them.

    One that cannot be interrupted is set aside.
    """
    ids = {"$nin": _set_aside(INTERRUPTION)} if among is None else {"$in": among}
    expired = Message.collection().find(
        {"status": Status.STREAMING.value, "lease_until": {"$lt": timezone.now()}, "_id": ids},
        {"run": 1, "provider": 1, "model": 1, "tenant_id": 1},
        limit=limit,
    )
    interrupted = serve_each(
        INTERRUPTION,
        expired,
        lambda row: interrupt_if_lease_expired(row["_id"], row["run"], Target(row["provider"], row["model"])),
        key=itemgetter("_id"),
        tenant=itemgetter("tenant_id"),
    )
    return [reply for reply in interrupted.results if reply is not None]


def store_feedback(reply_id: ObjectId, feedback: dict[str, Any]) -> Reply | None:
    """Store what a reader says of a reply; return the reply then, None if it was deleted."""
    document = Message.collection().find_one_and_update(
        {"_id": reply_id},
        {"$set": {"feedback": feedback, "updated_at": timezone.now()}},
        return_document=True,
    )
    return Reply.from_document(document) if document else None


# -- settling ----------------------------------------------------------------------------------


def unsettled(match: Mapping[str, Any], limit: int = 0) -> list[FinishedRun]:
    """Return the runs of ended replies that are not settled and satisfy `match`; all with a limit of 0.

    A reply that cannot be read is set aside. Those that were set aside are left out until they are due.
    """
    not_set_aside = {"_id": {"$nin": _set_aside(SETTLEMENT, READING)}}
    found = Message.collection().find({"settled": False, "$and": [match, not_set_aside]}, limit=limit)
    return serve_each(
        READING,
        found,
        lambda document: FinishedRun.of(Reply.from_document(document)),
        key=itemgetter("_id"),
        tenant=itemgetter("tenant_id"),
    ).results


def is_settled(key: str) -> bool:
    """Whether the run that `FinishedRun.key` identifies is one of a stored reply, and settled by now."""
    reply_id, _, run = key.partition(":")
    ended = [{"run": int(run), "settled": True}, {"run": {"$gt": int(run)}}]
    return Message.collection().find_one({"_id": object_id(reply_id), "$or": ended}, {"_id": 1}) is not None


def _set_aside(*works: str) -> list[ObjectId]:
    """Return the replies that are set aside and not due: they must not take the place of others."""
    keys = SetAside.objects.waiting(*works)
    return [reply_id for key in keys if (reply_id := object_id(key.partition(":")[0]))]


def mark_settled(runs: Iterable[FinishedRun]) -> None:
    """Mark the replies whose last run is among `runs`. Not marked is one that has another run by now."""
    by_number: dict[int, list[ObjectId]] = {}
    for run in runs:
        by_number.setdefault(run.run, []).append(run.reply_id)
    for number, reply_ids in by_number.items():
        Message.collection().update_many(
            {"_id": {"$in": reply_ids}, "run": number, "settled": False}, {"$set": {"settled": True}}
        )


def is_in_use(reservation_id: ObjectId) -> bool:
    """Whether a running or unsettled reply holds this reservation."""
    of_reservation = {"reservation": reservation_id}
    return bool(
        Message.collection().find_one({**of_reservation, "status": Status.STREAMING.value}, {"_id": 1})
        or Message.collection().find_one({**of_reservation, "settled": False}, {"_id": 1})
    )
