"""One call to a provider in flight: bytes come in, canonical events go out."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import requests

from llm import canonical, errors
from llm.providers import refusals
from llm.providers.answer import Refused
from llm.providers.body import Body, Garbled, Truncated
from llm.providers.documents import Document, Documents
from llm.providers.sse import EventTooLarge
from llm.providers.transport import Call, Expired, Stopped

if TYPE_CHECKING:
    from llm.providers.base import Limits, Provider

#: A finished answer may still send its usage, and ends its body at once after [DONE]: the waits for both.
_AFTER_FINISH_SECONDS = 2.0
_AFTER_DONE_SECONDS = 0.05

_FEW_STREAMS = 8

_REFUSAL_SECONDS = 2.0
_REFUSAL_BYTES = 65536


class OpenStreams:
    """Counts the streams being read in this process, and says how long each rests between reads.

    Waking a thread costs more than reading a token. So a reader sends the first
    token at once and then rests, longer the more streams are open, to take many
    tokens together: a few streams stay smooth, a thousand stay affordable.
    With a handful open, a rest would cost a wake-up of its own and join nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1

    @property
    def rest_seconds(self) -> float:
        return min(0.25, 0.001 * self.count) if self.count > _FEW_STREAMS else 0.0


open_streams = OpenStreams()


class Exchange:
    """One call in flight; iterate over it once.

    Yields `Text`, `Reasoning` and `ToolCallDelta` as they arrive (those that came
    in one read are joined), and last one `Finished`. Everything else is raised as
    a `ProviderError`: it never yields `Failed` and never ends without `Finished`.
    A refusal or content filter is raised as `Blocked`, with what was said before
    it in `partial` (`partial.finish == "blocked"`).

    `status` is the HTTP status, `first_token_ms` the time from the start of the
    iteration to the first text, reasoning or tool call; both None until known.
    Leaving the iteration early hangs up.
    """

    def __init__(
        self,
        provider: Provider,
        request: canonical.Request,
        model: str,
        *,
        stream: bool,
        limits: Limits,
    ) -> None:
        self.status: int | None = None
        self.first_token_ms: int | None = None
        self._provider = provider
        self._model = model
        self._stream = stream
        self._limits = limits
        self._payload = provider.payload(request, model, stream)
        self._headers = provider.headers()
        self._url = provider.chat_url(model, stream)
        self._reader = provider.reader(request, canonical.Target(provider.name, model))
        self._call = Call(connect_seconds=limits.connect_seconds, deadline=float("inf"))
        self._body: Body | None = None
        self._started = 0.0

    @property
    def sent(self) -> bool:
        """Whether a whole request has left for the provider."""
        return self._call.sent

    @property
    def partial(self) -> canonical.Completion:
        """What has come so far: text, tool calls, usage, response id, model used."""
        return self._reader.answer.completion()

    def close(self) -> None:
        """Stop the call, from any thread: a reader that waits wakes at once and raises Cancelled.

        Idempotent; does nothing to a call that has finished.
        """
        self._call.stop()

    def __iter__(self) -> Iterator[canonical.Event]:
        self._started = time.monotonic()
        first_wait = self._limits.first_token_seconds if self._stream else self._limits.total_seconds
        self._allow(self._started, first_wait)
        try:
            if self._stream:
                with open_streams:
                    yield from self._events()
            else:
                yield from self._events()
        except errors.ProviderError as error:
            error.provider = error.provider or self._provider.name
            error.status = error.status or self.status
            raise
        except (
            *(Expired, Stopped, Truncated, Garbled, EventTooLarge, Refused),
            *(requests.RequestException, http.client.HTTPException, OSError),
        ) as error:
            raise self._translated(error) from error
        finally:
            if self._body is not None:
                self._body.drop()

    def _events(self) -> Iterator[canonical.Event]:
        body = self._body = self._accepted()
        documents = Documents(
            max_event_bytes=self._limits.max_event_bytes, max_reply_bytes=self._limits.max_reply_bytes
        )
        answer = self._reader.answer
        while True:
            try:
                data = body.read()
            except (Expired, Truncated, OSError, http.client.HTTPException, requests.RequestException):
                if answer.finish is None or answer.is_empty or self._call.stopped:
                    raise
                break  # The answer was complete; only the end of the body is missing.
            yield from self._fed(documents.feed(data) if data else documents.close())
            if not data or documents.done:
                break
            if self.first_token_ms is not None and answer.finish is None and not body.full:
                self._call.rest(open_streams.rest_seconds)
        yield from self._finished()

    def _accepted(self) -> Body:
        """Return the body of the answer, after one repaired attempt if the provider knows a repair."""
        payload: dict[str, Any] | None = self._payload
        body = self._send(payload)
        if not 200 <= body.status < 300:
            error = self._refusal(body)
            payload = self._provider.repaired(payload, error)
            if payload is None:
                raise error
            body = self._send(payload)
            if not 200 <= body.status < 300:
                raise self._refusal(body)
        return body

    def _send(self, payload: dict[str, Any]) -> Body:
        content = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        body = self._provider.transport.send(self._call, "POST", self._url, self._headers, content)
        self.status, self._body = body.status, body
        return body

    def _refusal(self, body: Body) -> errors.ProviderError:
        return refused(self._provider, body, self._call, self._model)

    def _fed(self, documents: Iterable[Document]) -> Iterator[canonical.Event]:
        """Yield what `documents` add. An error among them is raised after what came before it."""
        answer = self._reader.answer
        was_finished = answer.finish is not None
        error: Exception | None = None
        try:
            for document in documents:
                self._reader.feed(document)
        except (errors.ProviderError, Refused, Garbled, EventTooLarge) as caught:
            error = caught
        yield from self._handed_out()
        if error is not None:
            raise error
        if answer.finish is not None and not was_finished:
            wait = min(_AFTER_FINISH_SECONDS, self._limits.between_tokens_seconds)
            self._allow(time.monotonic(), wait)

    def _handed_out(self) -> Iterator[canonical.Event]:
        answer = self._reader.answer
        if not answer.events:
            return
        if self.first_token_ms is None:
            self.first_token_ms = round((time.monotonic() - self._started) * 1000)
        events, answer.events = answer.events, []
        yield from events
        # From here, not from the arrival: a slow consumer is not the provider's silence.
        if answer.finish is None:
            self._allow(time.monotonic(), self._limits.between_tokens_seconds)

    def _finished(self) -> Iterator[canonical.Event]:
        self._to_the_end()
        error: errors.ProviderError | None = None
        try:
            completion = self._reader.close()
        except errors.ProviderError as caught:
            error = caught
        yield from self._handed_out()
        if error is not None:
            raise error
        yield canonical.Finished(completion)

    def _to_the_end(self) -> None:
        """Read the rest of the body, so that the connection can be used again, or drop it."""
        body = self._body
        if body.ended:
            return
        self._call.deadline = time.monotonic() + _AFTER_DONE_SECONDS
        left = _REFUSAL_BYTES
        try:
            while left > 0 and (data := body.read()):
                left -= len(data)
        except (Expired, Stopped, Truncated, Garbled, requests.RequestException, OSError):
            pass
        body.drop()

    def _allow(self, since: float, seconds: float) -> None:
        self._call.deadline = min(since + seconds, self._started + self._limits.total_seconds)

    def _translated(self, error: Exception) -> errors.ProviderError:
        label = self._provider.label
        facts = {"provider": self._provider.name, "status": self.status}
        if isinstance(error, Stopped) or self._call.stopped:
            return errors.Cancelled("The answer was stopped.", **facts)
        if isinstance(error, Expired):
            return errors.ProviderSilent(self._silence(), **facts)
        if isinstance(error, Refused):
            refused = self._provider.refused(refusals.read(error.body, status=None), self._model)
            refused.status = refused.status or self.status
            return refused
        if isinstance(error, EventTooLarge):
            return errors.ReplyTooLarge(f"{label} sent an answer larger than allowed.", **facts)
        return network_error(error, label, facts)

    def _silence(self) -> str:
        label, limits = self._provider.label, self._limits
        if time.monotonic() - self._started >= limits.total_seconds:
            return f"{label} did not finish within {limits.total_seconds:g} s."
        if self.first_token_ms is None:
            return f"{label} sent no token within {limits.first_token_seconds:g} s."
        return f"{label} stopped in the middle of its answer for {limits.between_tokens_seconds:g} s."


def refused(provider: Provider, body: Body, call: Call, model: str) -> errors.ProviderError:
    """Return the error that an answer with a status other than 2xx means; reads its body, within bounds."""
    if 300 <= body.status < 400:
        body.drop()
        return errors.BadReply(
            f"{provider.label} answered with a redirect, which is never followed: "
            f"check {provider.name.upper()}_BASE_URL.",
            provider=provider.name,
            status=body.status,
        )
    call.deadline = min(call.deadline, time.monotonic() + _REFUSAL_SECONDS)
    content = b""
    try:
        while len(content) < _REFUSAL_BYTES and (data := body.read()):
            content += data
    except Stopped:
        raise
    except (Expired, Truncated, Garbled, requests.RequestException, OSError, http.client.HTTPException):
        pass  # The status says enough.
    body.drop()
    refusal = refusals.read(_decoded(content), status=body.status, headers=body.headers)
    return provider.refused(refusal, model)


def _decoded(content: bytes) -> Any:
    documents = Documents(max_event_bytes=2 * _REFUSAL_BYTES, max_reply_bytes=2 * _REFUSAL_BYTES)
    try:
        found = [*documents.feed(content), *documents.close()]
    except (Garbled, EventTooLarge):
        found = []
    return found[0].value if found else content.decode(errors="replace").strip()


def network_error(error: Exception, label: str, facts: dict[str, Any]) -> errors.ProviderError:
    """Return the error for what happened below HTTP, or for an answer that is not HTTP."""
    causes = list(_causes(error))
    facts = facts | {"detail": str(error)[:500]}

    def is_due_to(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if is_due_to(Truncated):
        return errors.BadReply(f"{label} broke off its answer: the connection ended too early.", **facts)
    if is_due_to(ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected):
        return errors.Unreachable(f"{label} reset the connection.", **facts)
    if is_due_to(Garbled, http.client.HTTPException):
        return errors.BadReply(f"{label} sent an answer that cannot be read.", **facts)
    if is_due_to(ssl.SSLError):
        return errors.Unreachable(f"No trusted TLS connection to {label} could be made.", **facts)
    if is_due_to(socket.gaierror):
        return errors.Unreachable(f"The address of {label} was not found.", **facts)
    if is_due_to(ConnectionRefusedError):
        return errors.Unreachable(f"{label} refused the connection.", **facts)
    return errors.Unreachable(f"The connection to {label} failed.", **facts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all that it wraps: requests and urllib3 keep causes in arguments and reasons too."""
    seen, waiting = set(), [error]
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        waiting += [one for one in inner if isinstance(one, BaseException)]
