"""Reading a reply that another thread or worker drives, from what is stored of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from chat.turns.reply import Reply
from chat.turns.reply_watch import watching
from chat.turns.sse import BEGINNING, PING_SECONDS, Position, TurnEvent, restart_event, start_event

#: How often a reader checks whether it is over while the database can't be read.
CHECK_SECONDS = 1.0


#: How often a reader that waits for the end checks whether its access has ended.
IS_OVER_SECONDS = 1.0


def follow(
    reply: Reply, position: Position = BEGINNING, is_over: Callable[[], bool] = lambda: False
) -> Generator[TurnEvent | Reply | None]:
    """Yield the events of `reply` after `position`, and at last the reply in its final state.

    The texts of the deltas, appended to what the client had, are the reply's content. A client whose text
    has been replaced since gets `restart` and the present text from its beginning. None means that a ping is
    due. A reply whose worker is dead is interrupted. The generator ends early once `is_over()`.
    """
    epoch, offset, _ = position
    if epoch == 0:
        yield start_event(reply, reply.target, reply.epoch)
        epoch = reply.epoch
    sent_at = time.monotonic()
    with watching(reply) as watch:
        while not is_over():
            reply = watch.reply
            # While it runs, the stored text may be a checkpoint behind what its first reader has got.
            is_ahead = reply.epoch < epoch or offset > len(reply.content)
            if reply.epoch > epoch or (is_ahead and not reply.is_running):
                epoch, offset = reply.epoch, 0
                yield restart_event("restarted", reply.target, epoch)
            if text := reply.content[offset:] if reply.epoch == epoch else "":
                offset += len(text)
                sent_at = time.monotonic()
                yield TurnEvent("delta", {"text": text}, epoch, offset)
            if not reply.is_running:
                yield reply
                return
            if time.monotonic() - sent_at > PING_SECONDS:
                sent_at = time.monotonic()
                yield None
            watch.wait(CHECK_SECONDS)


def wait_for_end(reply: Reply, timeout_seconds: float, is_over: Callable[[], bool] = lambda: False) -> Reply:
    """Return the reply in its final state, or as it is after `timeout_seconds` or once `is_over()`."""
    if not reply.is_running:
        return reply
    deadline = time.monotonic() + timeout_seconds
    with watching(reply) as watch:
        while watch.reply.is_running and not is_over():
            if (seconds := deadline - time.monotonic()) <= 0:
                break
            watch.wait(min(seconds, IS_OVER_SECONDS))
        return watch.reply
