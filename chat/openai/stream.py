"""A run as an event stream in OpenAI's format."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from django.http import StreamingHttpResponse

from chat.openai.metering import MeteredRun
from chat.openai.openai_errors import AnswerBroken, CompletionFailed, error_body
from chat.openai.reply import Chunks, encode
from chat.turns import PING, PING_SECONDS, AccessEnded
from core.server import slots
from llm import canonical, errors

#: How often a silent stream checks whether its client is still connected.
CHECK_SECONDS = 0.5


class CompletionStream(StreamingHttpResponse):
    """The chunks of a run. A failure before the first is an HTTP error, a later one an event of the stream.

    When the client disconnects, the provider is stopped and what was used is billed.
    """

    def __init__(self, run: MeteredRun, *, include_usage: bool) -> None:
        slots.release_current()  # from here on it waits for the provider
        events = _RunEvents(run)
        first = events.next()
        if run.is_revoked:
            raise AccessEnded
        chunks = Chunks(str(run.id), _answering(first), include_usage=include_usage)
        super().__init__(_Body(chunks, events), content_type="text/event-stream; charset=utf-8")
        self["Cache-Control"] = "no-store, no-transform"
        self["X-Accel-Buffering"] = "no"


def _answering(first: canonical.Event | None) -> canonical.Target:
    match first:
        case canonical.Started(target):
            return target
        case canonical.Failed(error):
            raise CompletionFailed(error)
    raise AssertionError("A run begins with Started or Failed.")


class _RunEvents:
    """The events of a run that has a thread of its own.

    So the thread of the response is never blocked by a silent provider: only by sending does it notice that
    its client has disconnected.
    """

    def __init__(self, run: MeteredRun) -> None:
        self._run = run
        # Unbounded, so that a slow client does not delay the run; the policy limits its size.
        self._events: SimpleQueue[canonical.Event | Exception] = SimpleQueue()
        threading.Thread(target=self._drive, name="openai-run", daemon=True).start()

    def next(self, timeout_seconds: float | None = None) -> canonical.Event | None:
        """Return the next event; None if there is none within `timeout_seconds`."""
        try:
            event = self._events.get(timeout=timeout_seconds)
        except Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    @property
    def is_revoked(self) -> bool:
        return self._run.is_revoked

    @property
    def notes(self) -> list[str]:
        return self._run.notes

    def cancel(self) -> None:
        self._run.cancel()

    def _drive(self) -> None:
        try:
            for event in self._run:
                self._events.put(event)
        except Exception as error:  # a bug of ours: the thread of the response raises it
            self._events.put(error)


class _Body:
    """The bytes of the stream. `close()` stops the run, also if the client disconnected before the first."""

    def __init__(self, chunks: Chunks, events: _RunEvents) -> None:
        self._chunks = chunks
        self._events = events

    def __iter__(self) -> Iterator[bytes]:
        yield self._chunks.role()
        silent_seconds = 0.0
        while True:
            event = self._events.next(CHECK_SECONDS)
            if event is None:
                silent_seconds += CHECK_SECONDS
                # Nothing is sent for b"", but the server notices if its client has disconnected.
                yield PING if silent_seconds % PING_SECONDS == 0 else b""
                continue
            silent_seconds = 0.0
            yield self._encoded(event)
            if isinstance(event, canonical.Finished | canonical.Failed | canonical.Restarted):
                return

    def close(self) -> None:
        self._events.cancel()

    def _encoded(self, event: canonical.Event) -> bytes:
        match event:
            case canonical.Text(text):
                return self._chunks.text(text)
            case canonical.Refusal(text):
                return self._chunks.refusal(text)
            case canonical.Reasoning(text):
                return self._chunks.reasoning(text)
            case canonical.ToolCallDelta():
                return self._chunks.tool_call(event)
            case canonical.Finished(completion):
                return self._chunks.end(completion, self._events.notes)
            case canonical.Failed(errors.Blocked(), canonical.Completion() as partial):
                return self._chunks.end(partial, self._events.notes)
            case canonical.Failed() if self._events.is_revoked:
                return encode(error_body(AccessEnded()))
            case canonical.Failed(error):
                return encode(error_body(CompletionFailed(error)))
        # Restarted; the run of a completion yields no Waiting, and Started only before the first chunk.
        return encode(error_body(AnswerBroken()))
