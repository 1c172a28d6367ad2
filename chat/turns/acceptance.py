"""Accepting a message: reserve its share of the limits, store the question and a running reply.

Two round trips. From the insert on the message is accepted: whatever happens to the worker, question and
reply are stored, the reply with a lease.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo.errors import PyMongoError

from chat.analytics import rollups
from chat.kept_data import recounting, turn_bytes
from chat.models import Message
from chat.turns import replies, settlement
from chat.turns.attempts import INTERRUPTED
from chat.turns.budget import Budget
from chat.turns.capacity import acquire_permit
from chat.turns.finished_run import FinishedRun
from chat.turns.options import Options
from chat.turns.question import NewMessage, Question
from chat.turns.replies import AlreadyAccepted, SessionMoved
from chat.turns.reply import Reply
from chat.turns.turn import Turn
from core.time import now_in_milliseconds
from llm import canonical
from llm.routing import Run
from tenants.access import Access
from tenants.models import Tenant, Usage

if TYPE_CHECKING:
    from chat.conversation import Conversation

Status = Message.Status


def open_turn(conversation: Conversation, message: NewMessage, options: Options) -> Turn:
    """Reserve the limits for `message`, and store it as a question with a running reply.

    Raises LimitReached and WorkerBusy; SessionMoved and AlreadyAccepted after releasing the reservation.
    """
    tenant = conversation.access.tenant
    request = options.request(message.text, conversation.messages)
    reservation_id = ObjectId()
    budget = Budget(tenant, reservation_id, request, options.route)
    with acquire_permit(conversation.access) as permit, release_on_database_error(tenant.pk, reservation_id):
        kept = turn_bytes(message.text, message.metadata)
        admission = recounting(
            tenant.pk, lambda: budget.admit(sessions=int(conversation.is_new), kept_bytes=kept)
        )
        question = _question(conversation, message)
        reply = _reply(
            question, options.route[0], reservation_id, month=admission.month, now=question.created_at
        )
        try:
            reply = replies.insert_turn(question, reply)
        except (AlreadyAccepted, SessionMoved):
            Usage.objects.release(tenant.pk, reservation_id)
            raise
    return Turn(question, reply, _run(request, options, budget, tenant), admission, permit, options.route)


def reopen_turn(access: Access, question: Question, reply: Reply, options: Options) -> Turn | None:
    """Begin another run of a reply that failed, was cancelled or interrupted, in its place.

    None if the reply is no longer in such a state. Raises LimitReached and WorkerBusy.
    """
    tenant = access.tenant
    earlier = replies.messages_before(question, options.history_messages)
    if reply.settled is False:
        settlement.settle([FinishedRun.of(reply)])  # releases what a dead worker may still hold
    rollups.invalidate(reply.tenant_id, [reply.created_at])
    request = options.request(question.content, earlier)
    reservation_id = ObjectId()
    budget = Budget(tenant, reservation_id, request, options.route)
    with acquire_permit(access) as permit, release_on_database_error(tenant.pk, reservation_id):
        admission = budget.admit()
        reopened = replies.begin_run(
            reply, target=options.route[0], reservation_id=reservation_id, month=admission.month
        )
        if reopened is None:
            Usage.objects.release(tenant.pk, reservation_id)
            permit.release()
            return None
    return Turn(question, reopened, _run(request, options, budget, tenant), admission, permit, options.route)


def insert_lost_reply(question: Question, options: Options) -> Reply:
    """Return the reply of a question that was stored without one, interrupted and so ready for another run.

    That happens only if the database fails between the two documents of one insert.
    """
    now = now_in_milliseconds()
    lost = replace(
        _reply(question, options.route[0], ObjectId(), month="", now=now),
        status=Status.INTERRUPTED.value,
        error=INTERRUPTED,
        settled=True,
        finished_at=now,
    )
    return replies.insert_at_end(lost)


@contextlib.contextmanager
def release_on_database_error(tenant_id: ObjectId, reservation_id: ObjectId) -> Iterator[None]:
    """Release the reservation, in the background, if the database fails within the block: no run will use it.

    Whether it was made, and what else was stored, is unknown then. The lease of a reply that was stored
    expires, and nothing is billed for it.
    """
    try:
        yield
    except PyMongoError:
        settlement.settle_soon(FinishedRun.unused(tenant_id, reservation_id))
        raise


def _run(request: canonical.Request, options: Options, budget: Budget, tenant: Tenant) -> Run:
    origin = str(tenant.pk)
    return Run(request, options.route, emit_waiting=True, check_budget=budget.check, origin=origin)


def _question(conversation: Conversation, message: NewMessage) -> Question:
    now = now_in_milliseconds()
    key = conversation.access.key
    return Question(
        id=ObjectId(),
        session_id=conversation.session.pk,
        tenant_id=conversation.access.tenant.pk,
        api_key=key.pk if key else None,
        seq=conversation.last_seq + 1,
        content=message.text,
        metadata=message.metadata,
        requested_options=message.requested_options,
        fingerprint=message.fingerprint,
        idempotency_digest=message.idempotency_digest,
        created_at=now,
        updated_at=now,
    )


def _reply(
    question: Question, target: canonical.Target, reservation_id: ObjectId, *, month: str, now: datetime
) -> Reply:
    return Reply(
        id=ObjectId(),
        session_id=question.session_id,
        tenant_id=question.tenant_id,
        api_key=question.api_key,
        seq=question.seq + 1,
        in_reply_to_id=question.id,
        provider=target.provider,
        model=target.model,
        reservation_id=reservation_id,
        month=month,
        created_at=now,
        updated_at=now,
    )
