"""One request from granian's event loop to the WSGI application in a thread, and its response back."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import json
import logging
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from core import metrics, shutdown
from core.api.problems import CONTENT_TYPE, ProblemDetails
from core.errors import DomainError
from core.server.bodies import LARGE_BYTES, BodyReader, BodyRefused, BodyTooLarge, Chunks
from core.server.environ import Environ, Scope, environ_of, set_body
from core.server.listeners import limit_unread_seconds
from core.server.slots import Caller, FairSlots, NoSlot, Slot, held_by_this_thread
from core.server.threads import WorkerThreads

logger = logging.getLogger(__name__)

WSGIApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
ResponseHeaders = list[tuple[str, str]]

#: A larger response is sent from a file: granian keeps what it is passed in memory until the client has read
#: it, and thousands of clients may read slowly.
MAX_IN_MEMORY = 128 * 1024

#: granian opens a file as soon as it is passed; until then it must exist.
_FILE_OPEN_SECONDS = 20

#: So many files may wait for that at once. A large response beyond them is sent from memory.
_MAX_WAITING_FILES = 200

#: So many bytes of large bodies may be garbage.
COLLECTED_BYTES = 32 * 1024 * 1024

#: How long a client may read nothing of what it is sent.
UNREAD_SECONDS = 60

_LISTENING_POLL_SECONDS = 0.1

SERVER_ERROR = ProblemDetails(500, "server_error", "An unexpected error happened. It has been logged.")

EVENT_STREAM = "text/event-stream"


class Transport(Protocol):
    def send_bytes(self, data: bytes) -> Any: ...


class HTTPProtocol(Chunks, Protocol):
    """granian's side of a response. Only its body is awaited; the rest may be called in any thread.

    `response_stream` and `send_bytes` put data on a queue; the awaitable of `send_bytes` is complete at once
    (granian 2.8, src/rsgi/io.rs).
    """

    def response_bytes(self, status: int, headers: ResponseHeaders, body: bytes) -> None: ...
    def response_file(self, status: int, headers: ResponseHeaders, file: str) -> None: ...
    def response_stream(self, status: int, headers: ResponseHeaders) -> Transport: ...


@dataclass(slots=True)
class StartResponse:
    """WSGI's `start_response`: keeps what it is called with."""

    status: int = 500
    headers: ResponseHeaders = field(default_factory=list)

    def __call__(self, status: str, headers: ResponseHeaders, exc_info: Any = None) -> None:
        self.status = int(status.partition(" ")[0])
        self.headers = [(name.lower(), value) for name, value in headers]

    @property
    def is_event_stream(self) -> bool:
        return any(name == "content-type" and value.startswith(EVENT_STREAM) for name, value in self.headers)


class SlotPools:
    """Slots by purpose: what matches the first of some patterns in a path has slots of its own."""

    def __init__(self, default: FairSlots, by_pattern: dict[str, FairSlots]) -> None:
        self._default = default
        self._by_pattern = [(re.compile(pattern), slots) for pattern, slots in by_pattern.items()]

    def of(self, path: str) -> FairSlots:
        for pattern, slots in self._by_pattern:
            if pattern.search(path):
                return slots
        return self._default


class WSGIAdapter:
    """An RSGI application that runs a WSGI application in threads.

    An event stream is sent event by event, unless its response says that it `is_whole`: then it does not wait
    for anything, and is sent like any other response.
    `client_of` returns the address that a request is counted for, from its environment.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        pools: SlotPools,
        bodies: BodyReader,
        client_of: Callable[[Environ], str],
        path_prefix: str = "",
    ) -> None:
        self._application = application
        self._pools = pools
        self._bodies = bodies
        self._client_of = client_of
        self._path_prefix = path_prefix
        self._uncollected_bytes = 0
        self._threads = WorkerThreads()
        self._waiting_files = threading.Semaphore(_MAX_WAITING_FILES)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called by granian before it listens."""
        if not limit_unread_seconds(UNREAD_SECONDS) and hasattr(socket, "TCP_USER_TIMEOUT"):
            loop.call_later(_LISTENING_POLL_SECONDS, self.__rsgi_init__, loop)

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        environ = environ_of(scope, self._path_prefix)
        address = self._client_of(environ)
        size = 0
        try:
            body = await self._bodies.read(scope.headers, protocol, address, environ["PATH_INFO"])
            size = len(body)
            set_body(environ, body)
            del body  # The application may free it once it has read it.
        except BodyTooLarge as refusal:
            # The application rejects it, in the form of all its errors.
            set_body(environ, _oversized_body(refusal.limit))
        except BodyRefused as refused:
            _refuse(protocol, ProblemDetails(refused.status, refused.code, refused.detail))
            return
        shutdown.work.begin()
        try:
            slot = await self._pools.of(environ["PATH_INFO"]).acquire(Caller(address, _credential(environ)))
            await self._respond(environ, protocol, slot, collects=self._collects(size))
        except NoSlot:
            _refuse(protocol, ProblemDetails(503, "server_busy", "Too many requests are waiting. Try again."))
        finally:
            shutdown.work.end()
            self._bodies.release(address, size)

    def _collects(self, size: int) -> bool:
        """Whether garbage is collected after a request with a body of `size` bytes.

        Requests and views refer to each other, so that what they held is freed with time only. After some
        large ones it is freed at once: not after each, as that takes long where many streams are open.
        """
        self._uncollected_bytes += size if size > LARGE_BYTES else 0
        if self._uncollected_bytes < COLLECTED_BYTES:
            return False
        self._uncollected_bytes = 0
        return True

    async def _respond(self, environ: Environ, protocol: HTTPProtocol, slot: Slot, *, collects: bool) -> None:
        """Run the application in a thread until its response has ended; collect garbage if it `collects`."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def run() -> None:
            with held_by_this_thread(slot):
                try:
                    self._run(environ, protocol, loop)
                except DomainError as error:  # of a streamed response: its headers are not sent yet
                    _send_problem(protocol, ProblemDetails.of(error))
                except BaseException:  # a bug; without a response the client would wait for ever
                    logger.exception("the application failed")
                    _send_problem(protocol, SERVER_ERROR)
            if collects:
                gc.collect()
            loop.call_soon_threadsafe(_set_ended, ended)

        self._threads.run(run)
        # granian cancels nothing, and would send a 500 if this returned before the response began.
        await ended

    def _run(self, environ: Environ, protocol: HTTPProtocol, loop: asyncio.AbstractEventLoop) -> None:
        start = StartResponse()
        body = self._application(environ, start)
        try:
            if start.is_event_stream and not getattr(body, "is_whole", False):
                _send_events(protocol.response_stream(start.status, start.headers), body)
            else:
                self._send_whole(protocol, start, body, loop)
        finally:
            if hasattr(body, "close"):
                body.close()

    def _send_whole(
        self,
        protocol: HTTPProtocol,
        start: StartResponse,
        body: Iterable[bytes],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Send a response of any size as a whole: from memory, or from a file that has no name."""
        spool = tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY)  # noqa: SIM115 - closed once it is sent
        try:
            size = sum(spool.write(chunk) for chunk in body)
        except OSError:  # No temporary file can be written; the body of a response can be read once more.
            if getattr(body, "streaming", False):
                raise
            protocol.response_bytes(start.status, start.headers, b"".join(body))
            return
        spool.seek(0)
        headers = start.headers
        if not any(name == "content-length" for name, _ in headers):
            headers = [*headers, ("content-length", str(size))]
        if size <= MAX_IN_MEMORY or not self._waiting_files.acquire(blocking=False):
            protocol.response_bytes(start.status, headers, spool.read())
            spool.close()
            return
        protocol.response_file(start.status, headers, f"/dev/fd/{spool.fileno()}")

        def close() -> None:
            spool.close()
            self._waiting_files.release()

        loop.call_soon_threadsafe(loop.call_later, _FILE_OPEN_SECONDS, close)


def _send_events(transport: Transport, events: Iterable[bytes]) -> None:
    """Send each event at once, and stop when the client is gone: an empty event finds out."""
    for event in events:
        try:
            # It is complete at once: its first step ends it, with an error if the client is gone.
            next(transport.send_bytes(event).__await__(), None)
        except RuntimeError:  # granian's ProtocolClosed
            return


@functools.cache
def _oversized_body(limit: int) -> bytes:
    """Return a body beyond `limit`: zeros, which take memory when they are read."""
    return bytes(limit + 1)


def _set_ended(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _credential(environ: Environ) -> str:
    """Return a digest of the credential that a request sent, "" without one."""
    sent = (
        environ.get("HTTP_X_API_KEY") or environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_COOKIE") or ""
    )
    return hashlib.blake2b(sent.encode(), digest_size=8).hexdigest() if sent else ""


def _refuse(protocol: HTTPProtocol, problem: ProblemDetails) -> None:
    """Respond without the application; such a request is counted, and not logged."""
    metrics.refused_requests.labels(problem.code).inc()
    _send_problem(protocol, problem)


def _send_problem(protocol: HTTPProtocol, problem: ProblemDetails) -> None:
    """Respond with a problem, unless a response has begun: granian then ignores this one."""
    headers = {"content-type": CONTENT_TYPE, "cache-control": "no-store", **problem.headers}
    if problem.status == 503:
        headers.setdefault("Retry-After", str(shutdown.RETRY_AFTER_SECONDS))
    body = json.dumps(problem.body("")).encode()
    protocol.response_bytes(problem.status, [(name.lower(), value) for name, value in headers.items()], body)
