"""Turns: a question is accepted, answered by a provider, streamed, stored and settled.

In the order of a turn: `sending` decides what becomes of a message; `options`, `history` and `budget` say
with what its provider is called and what that may cost; `acceptance` stores the turn; `turn` drives it, while
`heartbeat` keeps its `lease`, `access_watch` checks its reader's access and `capacity` limits how many there
are; `events`, `following`, `reply_watch` and `sse` are how it is read; `settlement` bills it. `question`,
`reply` and `finished_run` are what it consists of, `replies` holds every query on them, `metrics` the
counters for Prometheus. Code outside of this package imports what is named here.
"""

from chat.turns import heartbeat, replies, settlement
from chat.turns.acceptance import release_on_database_error
from chat.turns.access_watch import StreamGrant, grant
from chat.turns.attempts import stored_attempt
from chat.turns.budget import Budget
from chat.turns.capacity import StreamPermit, acquire_permit
from chat.turns.finished_run import FinishedRun
from chat.turns.following import follow, wait_for_end
from chat.turns.heartbeat import local_turn
from chat.turns.history import HISTORY_LIMIT, ConversationMessage, newest_within_bounds
from chat.turns.options import answer_limit, requested_target, require_allowed_models
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
from chat.turns.turn_errors import AccessEnded, ModelNotAllowed, reply_error

__all__ = [
    "BEGINNING",
    "HISTORY_LIMIT",
    "PING",
    "PING_SECONDS",
    "AccessEnded",
    "Budget",
    "ConversationMessage",
    "EventSource",
    "ExistingTurn",
    "FinishedRun",
    "ModelNotAllowed",
    "NewMessage",
    "Position",
    "Question",
    "Reply",
    "RequestedOptions",
    "StreamGrant",
    "StreamPermit",
    "Turn",
    "TurnEvent",
    "acquire_permit",
    "answer_limit",
    "encode",
    "existing_question",
    "follow",
    "grant",
    "heartbeat",
    "last_position",
    "local_turn",
    "newest_within_bounds",
    "release_on_database_error",
    "replies",
    "reply_error",
    "request_cancel",
    "requested_target",
    "require_allowed_models",
    "retry",
    "send",
    "send_first",
    "settlement",
    "store_feedback",
    "stored_attempt",
    "wait_for_end",
]
