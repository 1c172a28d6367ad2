"""From a valid message to a turn: a new one, another run of a failed one, or one to be read along.

With an `Idempotency-Key` a question is stored once, however often and to whatever worker it is sent: later
sends attach to the running turn, replay the finished one, or make another attempt at one that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.conf import settings

from chat.models import ChatSession, Message
from chat.turns import replies, settlement
from chat.turns.acceptance import insert_lost_reply, open_turn, reopen_turn
from chat.turns.capacity import acquire_permit
from chat.turns.finished_run import FinishedRun
from chat.turns.following import wait_for_end
from chat.turns.options import Options, choose_options, require_allowed_models
from chat.turns.question import NewMessage, Question, RequestedOptions
from chat.turns.replies import AlreadyAccepted, SessionMoved
from chat.turns.reply import Reply
from chat.turns.turn import Turn
from chat.turns.turn_errors import (
    IdempotencyKeyReused,
    NotRetryable,
    SessionBusy,
    SessionClosed,
    StreamingNotInPlan,
    TurnRunning,
)
from chat.visitor_policy import allowed_options
from core.errors import InvalidInput, LimitReached, NotFound
from llm.canonical import Target

if TYPE_CHECKING:
    from chat.conversation import Conversation
    from tenants.access import Access

Status = Message.Status

#: How often a send starts over because other turns of its session were stored in between.
_TRIES = 10


@dataclass(frozen=True, slots=True)
class ExistingTurn:
    """A turn that was accepted before, to be read from its stored reply."""

    question: Question
    reply: Reply

    def finish(self, access: Access, is_over: Callable[[], bool]) -> Reply:
        """Wait for the reply's end, or until `is_over()`, and return it.

        Raises TooManyStreams and WorkerBusy.
        """
        with closing(acquire_permit(access)):
            return wait_for_end(self.reply, settings.LLM_TOTAL_SECONDS, is_over)


def send(conversation: Conversation, message: NewMessage) -> Turn | ExistingTurn:
    """Accept `message` into the conversation, or attach to the turn in which it was accepted before.

    Raises the errors of `chat.turns.turn_errors`, InvalidInput, Unavailable and LimitReached; nothing is
    stored then.
    """
    options = _options(conversation, message.text, message.requested_options, stream=message.stream)
    for _ in range(_TRIES):
        if conversation.existing_question:
            return _attach(conversation, conversation.existing_question, message, options)
        if not message.concurrent:
            _require_idle(conversation)
        try:
            return open_turn(conversation, message, options)
        except (AlreadyAccepted, SessionMoved):
            pass  # start over with what was stored in between
        except LimitReached:
            # The same message, accepted a moment ago, may be what reached the limit.
            if existing_question(message.idempotency_digest) is None:
                raise
        conversation = conversation.reload(idempotency_digest=message.idempotency_digest)
    raise SessionBusy


def send_first(conversation: Conversation, message: NewMessage) -> tuple[ChatSession, Turn | ExistingTurn]:
    """`send` to a session that this request created, which is deleted again if no message gets into it.

    Return also the session that has the message: that of an earlier request with the same Idempotency-Key,
    if there was one.
    """
    session = conversation.session
    try:
        turn = send(conversation, message)
    except BaseException:
        session.delete_if_empty()
        raise
    if turn.question.session_id != session.pk:
        session.delete_if_empty()
        earlier = ChatSession.objects.visible_to(conversation.access).filter(pk=turn.question.session_id)
        if (found := earlier.first()) is None:  # erased meanwhile
            raise NotFound
        session = found
    return session, turn


def existing_question(idempotency_digest: str | None) -> Question | None:
    """Return the stored question that was sent with the same Idempotency-Key, if any."""
    return replies.question_sent_with(idempotency_digest) if idempotency_digest else None


def retry(conversation: Conversation, reply: Reply, *, stream: bool) -> Turn:
    """Begin another run of a reply without a complete answer. Raises NotRetryable for all others."""
    question = replies.find_question(reply.in_reply_to_id)
    if question is None:
        raise NotFound
    requested = cast(RequestedOptions, allowed_options(conversation.access, question.requested_options))
    options = _options(conversation, question.content, requested, stream=stream)
    turn = None
    if reply.status in replies.RETRYABLE:
        turn = reopen_turn(conversation.access, question, reply, options)
    if turn is None:
        raise NotRetryable
    return turn


def _options(conversation: Conversation, text: str, requested: RequestedOptions, *, stream: bool) -> Options:
    access, session = conversation.access, conversation.session
    plan = access.tenant.plan
    if stream and not plan.streaming:
        raise StreamingNotInPlan
    if plan.max_input_chars is not None and len(text) > plan.max_input_chars:
        raise InvalidInput({"message": [f"This plan takes at most {plan.max_input_chars} characters."]})
    if session.status == ChatSession.Status.CLOSED:
        raise SessionClosed
    options = choose_options(access.tenant, session.overrides, requested)
    require_allowed_models(access.key, options.route)
    return options


def _require_idle(conversation: Conversation) -> None:
    """Raise TurnRunning if the last message is still being answered, by a worker that is alive."""
    running = conversation.running
    if running is None:
        return
    target = Target(running["provider"], running["model"])
    ended = replies.interrupt_if_lease_expired(running["_id"], running["run"], target)
    if ended is None:
        raise TurnRunning(extra={"reply_id": str(running["_id"])})
    settlement.settle_soon(FinishedRun.of(ended))
    running["status"], running["content"] = ended.status, ended.content


def _attach(
    conversation: Conversation, question: Question, message: NewMessage, options: Options
) -> Turn | ExistingTurn:
    if question.fingerprint != message.fingerprint:
        raise IdempotencyKeyReused
    reply = replies.reply_to(question.id) or insert_lost_reply(question, options)
    if reply.is_running:
        reply = replies.interrupt_if_lease_expired(reply.id, reply.run, reply.target) or reply
    if reply.status in (Status.FAILED, Status.INTERRUPTED):
        turn = reopen_turn(conversation.access, question, reply, options)
        if turn is not None:
            return turn
    return ExistingTurn(question, replies.reply_to(question.id) or reply)
