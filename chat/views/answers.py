"""How a turn is answered: as an event stream, or at its end as JSON or a problem."""

from __future__ import annotations

import threading
from collections.abc import Callable

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


def answer(
    request: Request,
    access: Access,
    outcome: Turn | Attached,
    stream: bool,
    show: Callable[[dict, dict], Response],
) -> Response | EventStream:
    """Answer with the turn's events, or with `show(question, reply)` once the reply is final.

    A turn that fails before its first event is a problem like any other.
    """
    replayed = isinstance(outcome, Attached)
    if not replayed:
        show_minute(request, outcome.admission.minute)
    if stream:
        if replayed:
            events = followed(outcome.reply, access)
        else:
            events = EntitledEvents(outcome.events(), access, rights.SEND_MESSAGES, outcome.cancel)
        first = next(events)
        if first is not None and first.name == "error":
            events.close()
            raise reply_error(outcome.reply)
        response: Response | EventStream = EventStream(first, events)
    else:
        reply = wait_for_end(outcome.reply, settings.LLM_TOTAL_SECONDS) if replayed else outcome.finish()
        if not answered(reply):
            raise reply_error(reply)
        response = show(outcome.asked, reply)
    if replayed:
        response["Idempotent-Replayed"] = "true"
    return response


def followed(reply: dict, access: Access, position: Position = BEGINNING) -> EntitledEvents:
    """Return the events of a reply that somebody else drives, for as long as `access` lets it be read."""
    over = threading.Event()
    return EntitledEvents(follow(reply, position, over.is_set), access, rights.READ_SESSION, over.set)
