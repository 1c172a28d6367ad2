"""From a valid request to a turn: a new one, a new run of an old one, or one to read along with.

With an `Idempotency-Key` the same question is stored once, however often and
wherever it is sent: later sends attach to the running turn, replay the finished
one, or make another attempt at one that failed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request

from chat.conversation import Conversation
from chat.models import ChatSession, Message
from chat.turns import settlement
from chat.turns.acceptance import (
    RETRYABLE,
    AlreadyAccepted,
    Question,
    SessionMoved,
    insert_lost_reply,
    open_turn,
    reopen_turn,
)
from chat.turns.options import Options, choose_options, refuse_models
from chat.turns.turn import Turn
from core.api.callers import caller_of
from core.api.idempotency import fingerprint, idempotency_key, key_reused
from core.errors import Conflict, LimitReached

Status = Message.Status

#: What a request may wish for its turn.
WISHES = ("provider", "model", "temperature", "max_tokens")

#: How often a send starts over because other turns of its session came in between.
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Attached:
    """A turn that was accepted before: read it from its stored reply."""

    asked: dict
    reply: dict


class TurnRunning(Conflict):
    default_code = "turn_running"
    default_detail = (
        "This session's last message is still being answered. Wait for it, cancel it, "
        'or send with "concurrent": true.'
    )


def once_key(request: Request) -> str | None:
    """Return what identifies caller, route and Idempotency-Key; None without the header."""
    key = idempotency_key(request)
    if key is None:
        return None
    scope = f"{caller_of(request).rate_key}\n{request.path}\n{key}"
    return hashlib.sha256(scope.encode()).hexdigest()


def send(request: Request, conversation: Conversation, body: dict[str, Any]) -> Turn | Attached:
    """Accept the message of `body` into the conversation, or attach to where it was accepted before.

    `body` is the validated request. Raises 400, 403, 409, 422 and 429 problems; nothing is stored then.
    """
    tenant = conversation.access.tenant
    once = once_key(request)
    options = _options(conversation, body)
    question = Question(
        text=body["message"],
        metadata=body.get("metadata", {}),
        wish={name: body[name] for name in WISHES if name in body},
        idempotency=once,
        fingerprint=fingerprint(request.data),
    )
    for _ in range(_TRIES):
        if conversation.existing_question:
            return _attach(conversation, conversation.existing_question, question.fingerprint, options, body)
        if not body.get("concurrent"):
            _refuse_if_running(conversation)
        try:
            return open_turn(
                tenant=tenant,
                session=conversation.session,
                last_seq=conversation.last_seq,
                messages=conversation.messages,
                question=question,
                options=options,
                api_key=conversation.access.key and conversation.access.key.pk,
            )
        except (AlreadyAccepted, SessionMoved):
            pass  # read again what came in between
        except LimitReached:
            # The same question, accepted a moment ago, may be what reached the limit.
            if not (once and _question(once)):
                raise
        conversation = conversation.reload(idempotency_digest=once)
    raise Conflict("Too many messages are being sent to this session at once.", "session_busy")


def send_first(
    request: Request, conversation: Conversation, body: dict[str, Any]
) -> tuple[ChatSession, Turn | Attached]:
    """`send` for a session that this request opened: it goes again if nothing comes to stand in it.

    Return the session where the message stands too: that of an earlier request with the same
    Idempotency-Key, if there was one.
    """
    session = conversation.session
    try:
        outcome = send(request, conversation, body)
    except BaseException:
        session.delete_if_empty()
        raise
    if outcome.asked["session_id"] != session.pk:
        session.delete_if_empty()
        session = ChatSession.objects.visible_to(conversation.access).get(pk=outcome.asked["session_id"])
    return session, outcome


def asked_before(request: Request) -> dict | None:
    """Return the stored question that this request's Idempotency-Key names, if any."""
    once = once_key(request)
    return _question(once) if once else None


def retry(conversation: Conversation, reply: dict, *, stream: bool) -> Turn:
    """Begin another run of a reply that has no whole answer. Raises 409 when it has, or is being answered."""
    asked = Message.collection().find_one({"_id": reply["in_reply_to_id"]})
    options = _options(conversation, {"stream": stream, "message": asked["content"], **(asked["wish"] or {})})
    turn = None
    if reply["status"] in RETRYABLE:
        turn = _reopen(conversation, asked, reply, options)
    if turn is None:
        raise Conflict(
            "Only a reply that failed, was cancelled or interrupted can be retried.", "not_retryable"
        )
    return turn


def reply_to(asked: dict) -> dict | None:
    """Return the stored reply to a stored question."""
    return Message.collection().find_one({"in_reply_to_id": asked["_id"]})


def _options(conversation: Conversation, body: dict[str, Any]) -> Options:
    plan = conversation.access.tenant.plan
    if body["stream"] and not plan.streaming:
        raise PermissionDenied("This plan does not include streaming.", "streaming_not_in_plan")
    if plan.max_input_chars is not None and len(body["message"]) > plan.max_input_chars:
        raise ValidationError({"message": [f"This plan takes at most {plan.max_input_chars} characters."]})
    if conversation.session.status == ChatSession.Status.CLOSED:
        raise Conflict("This session is closed. Set its status to active, or open another.", "session_closed")
    options = choose_options(conversation.access.tenant, conversation.session.overrides, body)
    refuse_models(conversation.access.key, options.route)
    return options


def _refuse_if_running(conversation: Conversation) -> None:
    running = conversation.running
    if running is None:
        return
    ended = settlement.end_if_dead(running)
    if ended is None:
        raise TurnRunning(extra={"reply_id": str(running["_id"])})
    settlement.settle_soon(ended)
    running.update(ended)


def _attach(
    conversation: Conversation, asked: dict, body_print: str, options: Options, body: dict[str, Any]
) -> Turn | Attached:
    if asked["fingerprint"] != body_print:
        raise key_reused()
    reply = reply_to(asked) or insert_lost_reply(asked, options)
    if reply["status"] == Status.STREAMING:
        reply = settlement.end_if_dead(reply) or reply
    if reply["status"] in (Status.FAILED, Status.INTERRUPTED):
        turn = _reopen(conversation, asked, reply, options)
        if turn is not None:
            return turn
    return Attached(asked, reply_to(asked) or reply)


def _reopen(conversation: Conversation, asked: dict, reply: dict, options: Options) -> Turn | None:
    earlier = conversation.session.messages_before(asked["seq"], options.history_messages)
    return reopen_turn(
        tenant=conversation.access.tenant,
        session=conversation.session,
        asked=asked,
        reply=reply,
        messages=earlier,
        options=options,
    )


def _question(once: str) -> dict | None:
    return Message.collection().find_one({"idempotency": once})
