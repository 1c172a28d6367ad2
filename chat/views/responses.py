"""The response to a turn: an event stream, or at its end JSON or a problem."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from chat.serializers import EventSerializer
from chat.turns.access_watch import EntitledEvents
from chat.turns.following import BEGINNING, follow, wait_for_end
from chat.turns.outcome import answered, reply_error
from chat.turns.sending import Attached
from chat.turns.sse import EventStream, Position
from chat.turns.turn import Turn
from tenants.access import Access, rights
from tenants.throttling import show_minute

#: How a turn can fail, beyond what any request can.
TURN_STATUSES = {"410", "422", "502"}

EVENT_STREAM = {(200, "text/event-stream"): EventSerializer}

#: Makes the JSON response of a question and its reply.
Render = Callable[[dict[str, Any], dict[str, Any]], Response]


def turn_response(
    request: Request, access: Access, outcome: Turn | Attached, render: Render, *, stream: bool
) -> Response | EventStream:
    """Return the turn's events, or `render(question, reply)` once the reply is final.

    A turn that fails before its first event is a problem like any other.
    """
    if isinstance(outcome, Turn):
        show_minute(request, outcome.admission.minute)
    response = _stream(outcome, access) if stream else _final(outcome, render)
    if isinstance(outcome, Attached):
        response["Idempotent-Replayed"] = "true"
    return response


def replay(reply: dict[str, Any], access: Access, position: Position = BEGINNING) -> EntitledEvents:
    """Return the events of a reply from its stored text, for as long as `access` allows reading it."""
    over = threading.Event()
    return EntitledEvents(follow(reply, position, over.is_set), access, rights.READ_SESSION, over.set)


def _stream(outcome: Turn | Attached, access: Access) -> EventStream:
    events = _events(outcome, access)
    first = next(events)
    if first is not None and first.name == "error":
        events.close()
        raise reply_error(outcome.reply)
    return EventStream(first, events)


def _events(outcome: Turn | Attached, access: Access) -> EntitledEvents:
    if isinstance(outcome, Attached):
        return replay(outcome.reply, access)
    return EntitledEvents(outcome.events(), access, rights.SEND_MESSAGES, outcome.cancel)


def _final(outcome: Turn | Attached, render: Render) -> Response:
    if isinstance(outcome, Attached):
        reply = wait_for_end(outcome.reply, settings.LLM_TOTAL_SECONDS)
    else:
        reply = outcome.finish()
    if not answered(reply):
        raise reply_error(reply)
    return render(outcome.asked, reply)
