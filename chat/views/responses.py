"""The response to a turn: an event stream, or at its end JSON or a problem."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rest_framework.request import Request
from rest_framework.response import Response

from chat.serializers import EventSerializer
from chat.turns import (
    BEGINNING,
    AccessEnded,
    ExistingTurn,
    Position,
    Question,
    Reply,
    Turn,
    acquire_permit,
    follow,
    grant,
    reply_error,
)
from chat.views.event_stream import EventStream, RevocableEvents
from tenants.access import Access, rights
from tenants.throttling import show_plan_rate

#: How a turn can fail, beyond what any request can.
TURN_STATUSES = {"410", "422", "502"}

EVENT_STREAM = {(200, "text/event-stream"): EventSerializer}

#: Makes the JSON response of a question and its reply.
Render = Callable[[Question, Reply, Access], Response]


def turn_response(
    request: Request, access: Access, turn: Turn | ExistingTurn, render: Render, *, stream: bool
) -> Response | EventStream:
    """Return the turn's events, or `render(question, reply, access)` once the reply is final.

    A stream begins at once, before its provider answers: how the turn ends is in its last event. A reply
    that has failed already is a problem like any other.
    """
    if isinstance(turn, Turn):
        show_plan_rate(request, turn.admission.minute)
    response = _stream(turn, access) if stream else render(turn.question, _final_reply(turn, access), access)
    if isinstance(turn, ExistingTurn):
        response["Idempotent-Replayed"] = "true"
    return response


def replay(reply: Reply, access: Access, position: Position = BEGINNING) -> RevocableEvents:
    """Return the events of a reply from its stored text, for as long as `access` allows reading it.

    Raises TooManyStreams and WorkerBusy.
    """
    permit = acquire_permit(access)
    over = threading.Event()
    return RevocableEvents(
        follow(reply, position, over.is_set),
        grant(access, rights.READ_SESSION, over.set),
        permit,
        is_whole=not reply.is_running,
    )


def _stream(turn: Turn | ExistingTurn, access: Access) -> EventStream:
    if isinstance(turn, Turn):
        granted = grant(access, rights.SEND_MESSAGES, turn.cancel, turn.route)
        return EventStream(RevocableEvents(turn.events(), granted))
    if not turn.reply.is_running and not turn.reply.is_successful:
        raise reply_error(turn.reply)
    return EventStream(replay(turn.reply, access))


def _final_reply(turn: Turn | ExistingTurn, access: Access) -> Reply:
    """Return the reply at the end of the turn, unless the caller's access ends before."""
    over = threading.Event()
    granted = grant(
        access,
        rights.SEND_MESSAGES,
        turn.cancel if isinstance(turn, Turn) else over.set,
        turn.route if isinstance(turn, Turn) else (),
    )
    try:
        reply = turn.finish() if isinstance(turn, Turn) else turn.finish(access, over.is_set)
    finally:
        granted.release()
    if granted.revoked:
        raise AccessEnded
    if not reply.is_successful:
        raise reply_error(reply)
    return reply
