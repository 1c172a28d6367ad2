"""Accepting a message: reserve its share of the limits, store the question and its reply-to-be.

Two round trips. From the insert on the message is accepted: whatever happens to
the worker, question and reply stand in the database, the reply with a lease.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.conf import settings
from django.utils import timezone
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from chat.analytics import rollups
from chat.models import ChatSession, Message
from chat.turns import settlement
from chat.turns.budget import Budget
from chat.turns.options import Options
from chat.turns.turn import Turn
from core.time import now_in_milliseconds, utc
from llm import canonical
from llm.routing import Run
from tenants.models import Tenant, Usage

Status = Message.Status

#: States from which a reply may be given another run.
RETRYABLE = [Status.FAILED.value, Status.CANCELLED.value, Status.INTERRUPTED.value]


class SessionMoved(Exception):
    """Another turn of the session was stored since its messages were read."""


class AlreadyAccepted(Exception):
    """A question with this Idempotency-Key is stored already."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, once it is valid.

    `wish` has the request's `provider`, `model`, `temperature` and `max_tokens`, as far as it named them.
    `idempotency` identifies caller, route and key.
    """

    text: str
    metadata: dict[str, Any]
    wish: dict[str, Any]
    idempotency: str | None
    fingerprint: str


def open_turn(
    *,
    tenant: Tenant,
    session: ChatSession,
    last_seq: int,
    messages: list[dict],
    question: Question,
    options: Options,
    api_key: ObjectId | None,
) -> Turn:
    """Accept `question`: reserve its share of the limits and store it with its reply-to-be.

    Two round trips. `messages` and `last_seq` are the session's as just read.
    Raises LimitReached; SessionMoved and AlreadyAccepted after giving the
    reservation back.
    """
    request = options.request(question.text, messages)
    asked, reply = _documents(tenant, session, last_seq, question, options, api_key)
    budget = Budget(tenant, reply["reservation"], request, options.route)
    with given_back_on_failure(tenant.pk, reply["reservation"]):
        admission = budget.admit()
        reply["month"] = admission.month
        _store(asked, reply)
    return Turn(session, asked, reply, _run(request, options, budget), admission)


def _run(request: canonical.Request, options: Options, budget: Budget) -> Run:
    return Run(request, options.route, emit_waiting=True, check_budget=budget.afford)


@contextlib.contextmanager
def given_back_on_failure(tenant_id: ObjectId, reservation: ObjectId) -> Iterator[None]:
    """Give the reservation back, in the background, if the database fails within: nothing will run on it.

    Whether it was taken, and what else was stored, nobody knows then. A reply that was runs out of its lease
    and counts for nothing.
    """
    try:
        yield
    except PyMongoError:
        nothing = {"session_id": None, "run": 1, "attempts": [], "settled": False}
        settlement.settle_soon({"tenant_id": tenant_id, "reservation": reservation, **nothing})
        raise


def _store(asked: dict, reply: dict) -> None:
    """Store both. Raises SessionMoved and AlreadyAccepted after giving the reservation back."""
    try:
        Message.collection().insert_many([asked, reply])
    except BulkWriteError as error:
        failure = next(iter(error.details["writeErrors"]), None)  # none: no majority has confirmed it in time
        if failure is None or failure["code"] != 11000:
            raise
        if overtaken := _overtaken(failure, reply):
            Usage.objects.release(reply["tenant_id"], reply["reservation"])
            raise overtaken from error


def _overtaken(failure: dict[str, Any], reply: dict) -> type[Exception] | None:
    """Return what came between; None if that was another turn's message in the reply's place only."""
    if failure["index"] == 0:
        return AlreadyAccepted if "idempotency" in failure["keyPattern"] else SessionMoved
    # The question is stored. The same one, sent again meanwhile, may have got its reply from there.
    return None if _insert_at_end(reply)["_id"] == reply["_id"] else AlreadyAccepted


def reopen_turn(
    *,
    tenant: Tenant,
    session: ChatSession,
    asked: dict,
    reply: dict,
    messages: list[dict],
    options: Options,
) -> Turn | None:
    """Begin another run of a reply that failed, was cancelled or interrupted; in its place.

    `messages` are those before the question. None when the reply is no longer in
    a state that can be retried. Raises LimitReached.
    """
    settlement.settle([reply])  # frees what a dead worker may still hold
    rollups.mark(reply["tenant_id"], [utc(reply["created_at"])])
    request = options.request(asked["content"], messages)
    now = timezone.now()
    fresh = _unanswered(options, now)
    budget = Budget(tenant, fresh["reservation"], request, options.route)
    with given_back_on_failure(tenant.pk, fresh["reservation"]):
        admission = budget.admit()
        reopened = Message.collection().find_one_and_update(
            {
                "_id": reply["_id"],
                "run": reply["run"],
                "settled": True,
                "status": {"$in": RETRYABLE},
            },
            {
                "$set": {
                    **fresh,
                    "run": reply["run"] + 1,
                    "epoch": reply["epoch"] + 1,
                    "month": admission.month,
                    "updated_at": now,
                }
            },
            return_document=True,
        )
        if reopened is None:
            Usage.objects.release(tenant.pk, fresh["reservation"])
            return None
    return Turn(session, asked, reopened, _run(request, options, budget), admission)


def _documents(
    tenant: Tenant,
    session: ChatSession,
    last_seq: int,
    question: Question,
    options: Options,
    api_key: ObjectId | None,
) -> tuple[dict, dict]:
    now = now_in_milliseconds()
    asked = {
        **_EMPTY,
        "_id": ObjectId(),
        "session_id": session.pk,
        "tenant_id": tenant.pk,
        "api_key": api_key,
        "seq": last_seq + 1,
        "role": Message.Role.USER.value,
        "content": question.text,
        "status": Status.COMPLETE.value,
        "metadata": question.metadata,
        "fingerprint": question.fingerprint,
        "wish": question.wish,
        "idempotency": question.idempotency,
        "created_at": now,
        "updated_at": now,
    }
    return asked, _reply(asked, options, now)


def _reply(asked: dict, options: Options, now: datetime) -> dict:
    return {
        **_EMPTY,
        **{name: asked[name] for name in ("session_id", "tenant_id", "api_key")},
        **_unanswered(options, now),
        "_id": ObjectId(),
        "seq": asked["seq"] + 1,
        "role": Message.Role.ASSISTANT.value,
        "in_reply_to_id": asked["_id"],
        "attempts": [],
        "metadata": {},
        "created_at": now,
        "updated_at": now,
    }


def _unanswered(options: Options, now: datetime) -> dict[str, Any]:
    """The fields of a reply that has just begun, whatever it held before."""
    target = options.route[0]
    return {
        "content": "",
        "status": Status.STREAMING.value,
        "provider": target.provider,
        "model": target.model,
        "finish": "",
        "error": None,
        "finished_at": None,
        "lease_until": now + timedelta(seconds=settings.TURN_LEASE_SECONDS),
        "cancel_requested": False,
        "settled": None,
        "reservation": ObjectId(),
    }


#: Every column of a message with its default, so that raw documents equal those the ORM writes.
_EMPTY: dict[str, Any] = {
    field.column: None if not field.has_default() else field.get_default()
    for field in Message._meta.concrete_fields
    if not field.primary_key
}


def insert_lost_reply(asked: dict, options: Options) -> dict:
    """Return the reply of a question that was stored without one, ready for another run.

    That happens only when the database fails between two documents of one insert.
    """
    now = timezone.now()
    reply = {
        **_reply(asked, options, now),
        "status": Status.INTERRUPTED.value,
        "error": settlement.INTERRUPTED,
        "lease_until": None,
        "finished_at": now,
        "settled": True,
    }
    return _insert_at_end(reply)


def _insert_at_end(reply: dict) -> dict:
    """Store a reply behind the session's last message; return it, or the one its question got meanwhile."""
    while True:
        last = Message.collection().find_one(
            {"session_id": reply["session_id"]}, {"seq": 1}, sort=[("seq", -1)]
        )
        reply["seq"] = last["seq"] + 1
        try:
            Message.collection().insert_one(reply)
        except DuplicateKeyError as error:
            if "in_reply_to_id" in error.details["keyPattern"]:
                return Message.collection().find_one({"in_reply_to_id": reply["in_reply_to_id"]})
            continue
        return reply
