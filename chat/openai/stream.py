"""A run as the event stream that OpenAI's clients read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

from django.http import StreamingHttpResponse

from chat.openai.metering import MeteredRun
from chat.openai.openai_errors import AnswerBroken, CompletionFailed, error_body
from chat.openai.reply import Chunks, event
from chat.turns.sse import PING, PING_SECONDS
from llm import canonical, errors

#: How often a silent stream looks whether its client is still there.
LOOK_SECONDS = 0.5


class CompletionStream(StreamingHttpResponse):
    """The chunks of a run. A failure before the first is an HTTP error; later ones go in-band.

    When the client goes away the provider is stopped and what was used is billed.
    """

    def __init__(self, run: MeteredRun, *, include_usage: bool) -> None:
        feed = _Feed(run)
        first = feed.next()
        if isinstance(first, canonical.Failed):
            raise CompletionFailed(first.error)
        chunks = Chunks(str(run.id), first.target, include_usage=include_usage)
        super().__init__(_Encoded(chunks, feed), content_type="text/event-stream; charset=utf-8")
        self["Cache-Control"] = "no-store, no-transform"
        self["X-Accel-Buffering"] = "no"


class _Feed:
    """The events of a run that a thread of its own drives.

    So that the thread of the response is never stuck in a silent provider: only
    by sending does it learn that its client has gone.
    """

    def __init__(self, run: MeteredRun) -> None:
        self._run = run
        # Unbounded: the run ends in its own time, however slow its client; its size is capped by policy.
        self._events: SimpleQueue[canonical.Event | Exception] = SimpleQueue()
        threading.Thread(target=self._drive, name="openai-run", daemon=True).start()

    def next(self, seconds: float | None = None) -> canonical.Event | None:
        """Return the next event; None if there is none within so many seconds."""
        try:
            event = self._events.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event

    def cancel(self) -> None:
        self._run.cancel()

    def _drive(self) -> None:
        try:
            for event in self._run:
                self._events.put(event)
        except Exception as error:  # a bug of ours: for the thread of the response
            self._events.put(error)


class _Encoded:
    """The bytes of the stream. `close()` stops the run, also when the client left before the first."""

    def __init__(self, chunks: Chunks, feed: _Feed) -> None:
        self._chunks = chunks
        self._feed = feed

    def __iter__(self) -> Iterator[bytes]:
        yield self._chunks.role()
        silent_seconds = 0.0
        while True:
            happened = self._feed.next(LOOK_SECONDS)
            if happened is None:
                silent_seconds += LOOK_SECONDS
                # Nothing is sent for b"", but the server notices if nobody is there to send it to.
                yield PING if silent_seconds % PING_SECONDS == 0 else b""
                continue
            silent_seconds = 0.0
            yield self._encoded(happened)
            if isinstance(happened, canonical.Finished | canonical.Failed | canonical.Restarted):
                return

    def close(self) -> None:
        self._feed.cancel()

    def _encoded(self, happened: canonical.Event) -> bytes:
        match happened:
            case canonical.Text(text):
                return self._chunks.text(text)
            case canonical.Reasoning(text):
                return self._chunks.reasoning(text)
            case canonical.ToolCallDelta():
                return self._chunks.tool_call(happened)
            case canonical.Finished(completion):
                return self._chunks.end(completion)
            case canonical.Failed(errors.Blocked(), canonical.Completion() as partial):
                return self._chunks.end(partial)
            case canonical.Failed(error):
                return event(error_body(CompletionFailed(error)))
        return event(error_body(AnswerBroken()))  # canonical.Restarted
