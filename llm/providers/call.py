"""One call to a provider: the request goes out, canonical events come back."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llm import canonical, errors
from llm.providers.coalescing import open_streams
from llm.providers.error_responses import ErrorResponse, parse_error, read_error_response
from llm.providers.network_errors import NETWORK_ERRORS, network_error
from llm.providers.reader import InBandError
from llm.providers.repairs import Repair, find_repair
from llm.providers.stream import JSONStream, ResponseBody, SizeLimitExceeded, StreamError, Truncated
from llm.providers.transport import CallDeadline, DeadlineExceeded, Stopped

if TYPE_CHECKING:
    from llm.providers.base import Limits, Provider

logger = logging.getLogger(__name__)

#: After so much silence the reader gets a sign of life.
_SIGN_OF_LIFE_SECONDS = 5.0

#: Of one request; each is sent once more.
_MAX_REPAIRS = 3

#: Waits after the finish reason (for usage) and after [DONE] (for the end of the body).
_AFTER_FINISH_SECONDS = 2.0
_AFTER_DONE_SECONDS = 0.05
_AFTER_DONE_BYTES = 65536


class ProviderCall:
    """One call to a provider; iterate over it once.

    Yields `Text`, `Refusal`, `Reasoning` and `ToolCallDelta` as they arrive (those of one read are
    joined), `Retracted` when text turns out to be reasoning, and `Finished` last; with patient limits
    also `Waiting`, every few seconds, before the first of them. Everything else
    is raised as a `ProviderError`: it never yields `Failed` and never ends without `Finished`. A
    content filter is raised as `Blocked`, with the text before it in `partial`
    (`partial.finish == "blocked"`).

    `status` is the HTTP status, `first_token_ms` the time from the start of the iteration to
    the first text, reasoning or tool call; both None until known. Leaving the iteration early
    closes the connection.
    """

    def __init__(
        self,
        provider: Provider,
        request: canonical.Request,
        model: str,
        *,
        stream: bool,
        limits: Limits,
        checks_tools: bool = True,
        can_restart: bool = True,
    ) -> None:
        self.status: int | None = None
        self.first_token_ms: int | None = None
        self._provider = provider
        self._model = model
        self._stream = stream
        self._limits = limits
        self._payload = provider.payload(request, model, stream)
        #: What of the client's request is not in the payload, in sentences.
        self.notes = [*request.notes, *provider.notes(request, model)]
        self.notes += provider.repairs.apply(model, self._payload)
        self._headers = provider.headers()
        self._url = provider.chat_url(model, stream)
        self._reader = provider.reader(request, canonical.Target(provider.name, model))
        self._builder = self._reader.builder
        self._builder.checks_tools, self._builder.can_restart = checks_tools, can_restart
        self._deadline = CallDeadline(connect_seconds=limits.connect_seconds, expires_at=float("inf"))
        self._body: ResponseBody | None = None
        self._started = self._alive_at = 0.0
        self._finish_seen = False

    @property
    def request_sent(self) -> bool:
        """Whether the whole request has been sent to the provider."""
        return self._deadline.request_sent

    @property
    def partial(self) -> canonical.Completion:
        """What has arrived so far: text, tool calls, usage, response id, model used."""
        return self._builder.completion()

    def close(self) -> None:
        """Stop the call, from any thread: a waiting reader wakes at once and raises Cancelled.

        Idempotent; does nothing to a call that has finished.
        """
        self._deadline.stop()

    def complete(self) -> canonical.Completion:
        """Read to the end and return the completion. Raises ProviderError."""
        for event in self:
            if isinstance(event, canonical.Finished):
                return event.completion
        raise AssertionError("A call ends with Finished or raises.")

    def __iter__(self) -> Iterator[canonical.Waiting | canonical.Delta | canonical.Finished]:
        self._started = self._alive_at = time.monotonic()
        self._allow(self._limits.first_token_seconds if self._stream else self._limits.total_seconds)
        with self._provider_errors(), open_streams if self._stream else contextlib.nullcontext():
            body = self._send()
            if self._stream and self._limits.is_patient:
                self._allow(self._limits.total_seconds)
            stream = JSONStream(
                body,
                max_event_bytes=self._limits.max_event_bytes,
                max_reply_bytes=self._limits.max_reply_bytes,
            )
            while not stream.done:
                self._coalesce(body)
                received = self._builder.received
                error = self._receive(stream)
                yield from self._take_events()
                if error is not None:
                    raise error  # It came after the events.
                if body.is_idle:
                    self._alive_at = time.monotonic()
                    yield canonical.Waiting()
                self._restart_clock(self._builder.received > received)
            self._drain(body)
            yield from self._finish(stream.is_complete)

    # -- request -----------------------------------------------------------------

    def _send(self) -> ResponseBody:
        """Return the response; a request that is refused for its parameters is repaired and sent again."""
        made: list[Repair] = []
        rounds = 0
        while not (body := self._post(self._payload)).ok:
            expires_at = self._deadline.expires_at
            response = read_error_response(body, self._deadline)
            error = self._provider.error_from(response, self._model)
            rounds += 1
            if rounds > _MAX_REPAIRS or not self._repair(response, error, made):
                raise error
            self._deadline.expires_at = expires_at
        self._provider.repairs.remember(self._model, tuple(made))
        return body

    def _repair(self, response: ErrorResponse, error: errors.ProviderError, made: list[Repair]) -> bool:
        """Change the payload as the refusal calls for; False if nothing changes."""
        changes = []
        for repair in find_repair(response, error, self._payload, self._provider.parameters):
            if any(repair.replaces(other) for other in made):
                continue
            if change := repair.apply(self._payload):
                changes.append(change)
                made.append(repair)
        if not changes and (payload := self._provider.without_rejected_fields(self._payload, error)):
            self._payload = payload
            changes.append("Thought signatures were left out: they were refused.")
        self.notes += changes
        if changes:
            facts = {"provider": self._provider.name, "model": self._model, "changes": changes}
            logger.warning("llm_request_repaired", extra=facts)
        return bool(changes)

    def _post(self, payload: dict[str, Any]) -> ResponseBody:
        content = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        body = self._provider.transport.send(self._deadline, "POST", self._url, self._headers, content)
        self.status, self._body = body.status, body
        return body

    # -- response ------------------------------------------------------------------

    def _coalesce(self, body: ResponseBody) -> None:
        """Let tokens gather between two reads, unless the first one or the end is awaited."""
        if self.first_token_ms is None or self._builder.finish is not None or body.last_read_was_full:
            return
        age = time.monotonic() - self._started - self.first_token_ms / 1000
        if delay := open_streams.coalescing_delay_seconds(age):
            self._deadline.pause(delay)

    def _receive(self, stream: JSONStream) -> Exception | None:
        """Read once and parse what has arrived. Return the error that ends the call, if any."""
        is_awaited = self._limits.is_patient and self._stream and self.first_token_ms is None
        self._deadline.idle_at = self._alive_at + _SIGN_OF_LIFE_SECONDS if is_awaited else float("inf")
        try:
            for document in stream.read():
                self._reader.feed(document)
        except (DeadlineExceeded, Truncated, *NETWORK_ERRORS) as error:
            if self._builder.finish is None or self._builder.is_empty or self._deadline.stopped:
                return error
            stream.done = True  # The answer is complete; only the end of the body is missing.
        except (Stopped, StreamError, InBandError, errors.ProviderError) as error:
            return error
        return None

    def _take_events(self) -> list[canonical.Delta]:
        events = self._builder.take_events()
        if events and self.first_token_ms is None:
            self.first_token_ms = round((time.monotonic() - self._started) * 1000)
        return events

    def _restart_clock(self, received: bool) -> None:
        """Set the deadline for the next token, or for what follows the finish reason.

        It counts from now, not from the arrival of the last token: a slow consumer must not look
        like a silent provider.
        """
        if self._builder.finish is None:
            if received:
                self._allow(self._limits.between_tokens_seconds)
        elif not self._finish_seen:
            self._finish_seen = True
            self._allow(min(_AFTER_FINISH_SECONDS, self._limits.between_tokens_seconds))

    def _drain(self, body: ResponseBody) -> None:
        """Read the rest of the body, so that the connection can be reused; close it if that takes long."""
        if body.ended:
            return
        self._deadline.expires_at, self._deadline.idle_at = (
            time.monotonic() + _AFTER_DONE_SECONDS,
            float("inf"),
        )
        with contextlib.suppress(DeadlineExceeded, Stopped, StreamError, *NETWORK_ERRORS):
            body.read_into(bytearray(), _AFTER_DONE_BYTES)
        body.close()

    def _finish(self, is_complete: bool) -> Iterator[canonical.Delta | canonical.Finished]:
        try:
            completion = self._reader.close(is_complete=is_complete)
        except errors.ProviderError:
            yield from self._take_events()
            raise
        yield from self._take_events()
        yield canonical.Finished(completion)

    def _allow(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now, within the total time of the call."""
        self._deadline.expires_at = min(
            time.monotonic() + seconds, self._started + self._limits.total_seconds
        )

    # -- errors --------------------------------------------------------------------

    @contextlib.contextmanager
    def _provider_errors(self) -> Iterator[None]:
        """Raise every failure within as a ProviderError, and close the body at the end."""
        try:
            yield
        except errors.ProviderError as error:
            error.provider = error.provider or self._provider.name
            error.status = error.status or self.status
            raise
        except (DeadlineExceeded, Stopped, StreamError, InBandError, *NETWORK_ERRORS) as error:
            raise self._provider_error(error) from error
        finally:
            if self._body is not None:
                self._body.close()

    def _provider_error(self, error: Exception) -> errors.ProviderError:
        label = self._provider.label
        facts: dict[str, Any] = {"provider": self._provider.name, "status": self.status}
        if isinstance(error, Stopped) or self._deadline.stopped:
            return errors.Cancelled("The answer was stopped.", **facts)
        if isinstance(error, DeadlineExceeded):
            return self._timeout(facts)
        if isinstance(error, InBandError):
            reported = self._provider.error_from(parse_error(error.body, status=None), self._model)
            reported.status = reported.status or self.status
            return reported
        if isinstance(error, SizeLimitExceeded):
            return errors.ReplyTooLarge(f"{label} sent an answer larger than allowed.", **facts)
        return network_error(error, label, facts)

    def _timeout(self, facts: dict[str, Any]) -> errors.ProviderSilent:
        label, limits = self._provider.label, self._limits
        is_over = time.monotonic() - self._started >= limits.total_seconds
        has_begun = self.first_token_ms is not None
        if is_over and (has_begun or not self._stream):
            message = f"{label} did not finish within {limits.total_seconds:g} s."
            return errors.ProviderSilent(message, out_of_time=True, **facts)
        if not has_begun:
            seconds = limits.total_seconds if is_over else limits.first_token_seconds
            message = f"{label} sent no token within {seconds:g} s."
        else:
            message = f"{label} stopped in the middle of its answer for {limits.between_tokens_seconds:g} s."
        return errors.ProviderSilent(message, **facts)
