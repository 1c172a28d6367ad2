"""What a provider is told of a conversation so far."""

from __future__ import annotations

from collections.abc import Iterable

from chat.models import Message
from llm import canonical

#: Messages of a session that a turn reads at most, whatever its plan says.
HISTORY_LIMIT = 200

#: A token is at least this many characters in every script the models know; used to stay inside a window.
CHARS_PER_TOKEN = 3

_UNSENT = {Message.Status.FAILED, Message.Status.STREAMING}


def history(
    messages: Iterable[dict], *, limit: int, window_tokens: int | None, spent_tokens: int
) -> tuple[canonical.Message, ...]:
    """Return the newest messages that fit, oldest first.

    `messages` are raw documents ordered by `seq`. Failed, running and empty
    replies are left out. At most `limit` are kept, and no more than fit into
    `window_tokens` beside `spent_tokens` (system prompt, question and answer);
    None means the window is unknown. The oldest go first.
    """
    sendable = [m for m in messages if m["content"] and m["status"] not in _UNSENT]
    kept: list[canonical.Message] = []
    room = float("inf") if window_tokens is None else (window_tokens - spent_tokens) * CHARS_PER_TOKEN
    for message in reversed(sendable[-limit:] if limit else []):
        room -= len(message["content"])
        if room < 0:
            break
        kept.append(canonical.Message(message["role"], message["content"]))
    # A history that opens with an answer to a question no longer there only confuses a model.
    while kept and kept[-1].role == "assistant":
        kept.pop()
    return tuple(reversed(kept))
