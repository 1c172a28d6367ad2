"""Turns: a question is accepted, answered by a provider, stored, streamed and settled.

In the order of a turn: `sending` decides what becomes of a message; `options`, `history` and `budget` say
with what the provider is called and what that may cost; `acceptance` stores the turn; `turn` drives it, while
`heartbeat` keeps its `lease` and `access_watch` its reader's access; `events` and `following` are how it is
read; `settlement` bills it. `question`, `reply` and `finished_run` are what it consists of, `replies` is
every query on them.
"""

from chat.turns.access_watch import StreamGrant, grant
from chat.turns.attempts import stored_attempt
from chat.turns.following import follow, wait_for_end
from chat.turns.heartbeat import local_turn
from chat.turns.question import NewMessage, Question, RequestedOptions
from chat.turns.replies import request_cancel, store_feedback
from chat.turns.reply import Reply
from chat.turns.sending import ExistingTurn, existing_question, retry, send, send_first
from chat.turns.sse import (
    BEGINNING,
    PING,
    PING_SECONDS,
    EventSource,
    Position,
    TurnEvent,
    encode,
    last_position,
)
from chat.turns.turn import Turn
from chat.turns.turn_errors import reply_error

__all__ = [
    "BEGINNING",
    "PING",
    "PING_SECONDS",
    "EventSource",
    "ExistingTurn",
    "NewMessage",
    "Position",
    "Question",
    "Reply",
    "RequestedOptions",
    "StreamGrant",
    "Turn",
    "TurnEvent",
    "encode",
    "existing_question",
    "follow",
    "grant",
    "last_position",
    "local_turn",
    "reply_error",
    "request_cancel",
    "retry",
    "send",
    "send_first",
    "store_feedback",
    "stored_attempt",
    "wait_for_end",
]
