"""The fake provider as a server: it answers, fails on demand, and logs what it receives.

`/groq/openai/v1`, `/openrouter/api/v1`, `/openai_compatible/v1`, `/local/v1` and `/gemini/v1beta` are base
URLs, each with its wire format. Others:

    POST   /_control   {"provider"?, "model"?, "faults"? | "fault"?, "times"?, "seconds"?, "headers"?,
                        "answer"?, "answers"?, "raw"?}: see `Script`
    DELETE /_control   remove all scripts
    GET    /_log       received requests, oldest first: see `Entry`
    DELETE /_log       clear the log
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from qa.fake_provider import faults
from qa.fake_provider.answers import ChatRequest, answer_to
from qa.fake_provider.call import Call
from qa.fake_provider.faults import FaultSpec
from qa.fake_provider.http_connection import HTTPRequest, ResponseWriter, ServerProtocol, read_request
from qa.fake_provider.wire_formats import GeminiFormat, InvalidRequest, OpenAIFormat, WireFormat

BASE_PATHS = {
    "groq": "/groq/openai/v1",
    "gemini": "/gemini/v1beta",
    "openrouter": "/openrouter/api/v1",
    "openai_compatible": "/openai_compatible/v1",
    "local": "/local/v1",
}
_KEYLESS = {"openai_compatible", "local"}

#: A key that every provider refuses; all others are accepted.
WRONG_KEY = "wrong-key"

_SECRET_HEADERS = {"authorization", "x-goog-api-key"}


def fingerprint(key: str) -> str:
    """Return the text that the log has instead of `key`."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass
class Entry:
    """One received request. `at` is a Unix time; `disconnected_after` is in seconds since then.

    `key` is the fingerprint of the key, None without one. `connection` is the number of the connection:
    equal numbers mean that it was reused.
    """

    number: int
    at: float
    connection: int
    provider: str
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    key: str | None = None
    model: str = ""
    stream: bool = False
    fault: str | None = None
    status: int | None = None
    sent_bytes: int = 0
    finished: bool = False
    disconnected_after: float | None = None


@dataclass
class Script:
    """How calls that match `provider` and `model` ("*" is any) are answered.

    `faults` are for the next calls, one each, None for a healthy answer. Then `fault` applies: for `times`
    calls, until `seconds` after the first, or without a limit.
    `headers` are added to every answer, `answer` sets fields of the `Answer`, `answers` those of the next.
    `raw` replaces the answer, also that of the list of models, for `times` calls or without a limit:
    {"status"?, "headers"?, "pieces": [text or {"base64"} or seconds to pause],
    "end"?: "clean" | "close" | "reset" | "stall", "framed"?: false to send the pieces without HTTP}.
    """

    provider: str = "*"
    model: str = "*"
    faults: Sequence[str | None] = ()
    fault: str | None = None
    times: int | None = None
    seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    answers: Sequence[dict[str, Any]] = ()
    raw: dict[str, Any] | None = None
    _remaining_faults: deque[str | None] = field(default_factory=deque, init=False, repr=False)
    _remaining_answers: deque[dict[str, Any]] = field(default_factory=deque, init=False, repr=False)
    _calls: int = field(default=0, init=False, repr=False)
    _first_at: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._remaining_faults.extend(self.faults)
        self._remaining_answers.extend(self.answers)
        for spec in [*self.faults, self.fault]:
            if spec is not None:
                faults.parse(spec)

    def matches(self, request: ChatRequest) -> bool:
        used_up = self.raw is not None and self.times is not None and self._calls >= self.times
        is_for = self.provider in ("*", request.provider) and self.model in ("*", request.model)
        return is_for and not used_up

    def next_answer(self) -> dict[str, Any] | None:
        """Return the fields of the next answer."""
        return self._remaining_answers.popleft() if self._remaining_answers else self.answer

    def next_fault(self) -> FaultSpec | None:
        """Count a call and return its fault."""
        now = time.monotonic()
        self._first_at = self._first_at or now
        if self.raw is not None:
            self._calls += 1
        if self._remaining_faults:
            text = self._remaining_faults.popleft()
            return faults.parse(text) if text else None
        if self.fault is None:
            return None
        spec = faults.parse(self.fault)
        times = self.times if self.times is not None else spec.times
        seconds = self.seconds if self.seconds is not None else spec.seconds
        self._calls += 1
        if times is not None and self._calls > times:
            return None
        if seconds is not None and now - self._first_at > seconds:
            return None
        return spec


class FakeProvider:
    """Runs the server in a thread: `with FakeProvider() as fake: fake.url`.

    `tls` is a server-side SSLContext, for https.
    """

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._wires: dict[str, WireFormat] = {
            name: GeminiFormat(name) if name == "gemini" else OpenAIFormat(name) for name in BASE_PATHS
        }
        self._scripts: list[Script] = []
        self._by_model: dict[tuple[str, str], Script] = {}
        self._log: deque[Entry] = deque(maxlen=10_000)
        self._entries, self._connections = itertools.count(1), itertools.count(1)
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    def base_url(self, provider: str) -> str:
        return self.url + BASE_PATHS[provider]

    def __enter__(self) -> FakeProvider:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("The fake provider did not start.")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def serve_forever(self, started: Callable[[], None]) -> None:
        """Serve in this thread until it is interrupted; `started` is called once the port is open."""
        asyncio.run(self._run(None, started))

    def script(self, **script: Any) -> None:
        """Add a `Script`; the latest one that matches a call applies."""
        self._scripts.insert(0, Script(**script))

    def reset(self) -> None:
        """Remove scripts, counts of faults and the log."""
        self._scripts.clear()
        self._by_model.clear()
        self._log.clear()

    def log(self, provider: str | None = None) -> list[Entry]:
        return [entry for entry in list(self._log) if provider in (None, entry.provider)]

    def wait_for(self, condition: Callable[[list[Entry]], Any], seconds: float = 5) -> Any:
        """Return the result of `condition(log)` once it is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            if result := condition(self.log()):
                return result
            if time.monotonic() > deadline:
                raise TimeoutError(f"The condition did not become true. The log: {self.log()}")
            time.sleep(0.005)

    # -- serving ----------------------------------------------------------------

    async def _run(self, ready: threading.Event | None, started: Callable[[], None] = lambda: None) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[Any] | None] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            tasks.add(task)
            try:
                await self._serve(reader, writer)
            except asyncio.CancelledError:
                pass  # The server stops.
            finally:
                tasks.discard(task)
                writer.close()

        server = await self._loop.create_server(
            lambda: ServerProtocol(serve), self._host, self._port, ssl=self._tls, backlog=1024
        )
        self._port = server.sockets[0].getsockname()[1]
        started()
        if ready is not None:
            ready.set()
        await self._stopped.wait()
        server.close()
        running = [task for task in tasks if task]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(self._connections)
        protocol = writer.transport.get_protocol()
        assert isinstance(protocol, ServerProtocol)  # noqa: S101 - made above
        while request := await read_request(reader):
            response = ResponseWriter(writer)
            if request.path.startswith("/_"):
                await self._control(request, response)
                continue
            entry = self._entry(request, connection)
            self._log.append(entry)
            began = time.monotonic()
            protocol.answering = asyncio.ensure_future(self._answer(request, entry, response))
            try:
                await protocol.answering
            except (asyncio.CancelledError, ConnectionError):
                if not protocol.client_disconnected and response.keep_alive and not writer.is_closing():
                    raise
            if protocol.client_disconnected:
                entry.disconnected_after = time.monotonic() - began
            entry.sent_bytes, entry.status = response.sent_bytes, response.status
            entry.finished = response.ended
            if protocol.client_disconnected or not response.ended or not response.keep_alive:
                return

    async def _answer(self, request: HTTPRequest, entry: Entry, response: ResponseWriter) -> None:
        wire = self._wires.get(entry.provider)
        if wire is None:
            await response.send_all(404, {"Content-Type": "text/html"}, b"<html>no such path</html>")
            return
        chat_request = ChatRequest(entry.provider, model="", stream=False)
        call = Call(response, wire, chat_request, answer_to(chat_request))
        key = wire.api_key(request.headers)
        if key == WRONG_KEY or (not key and entry.provider not in _KEYLESS):
            await faults.apply(FaultSpec("401"), call)
            return
        try:
            if request.method == "POST":
                chat_request = wire.parse(request.path.partition("?")[0], request.body or {})
        except InvalidRequest as error:
            await call.send_error(error.status, error.code, error.message)
            return
        entry.model, entry.stream = chat_request.model, chat_request.stream
        script = self._script_for(chat_request)
        spec = script.next_fault()
        entry.fault = spec.name if spec else None
        if script.raw is not None:
            await _send_raw(response, script.raw)
            return
        if request.method == "GET":
            await call.send_json(200, wire.models())
            return
        answer = answer_to(chat_request, script.next_answer())
        call = Call(response, wire, chat_request, answer, script.headers)
        await (faults.apply(spec, call) if spec else call.send_answer())

    def _script_for(self, request: ChatRequest) -> Script:
        for script in self._scripts:
            if script.matches(request):
                return script
        target = (request.provider, request.model)
        if target not in self._by_model:
            fault = request.model if request.model.startswith(faults.MODEL_PREFIX) else None
            self._by_model[target] = Script(fault=fault)
        return self._by_model[target]

    def _entry(self, request: HTTPRequest, connection: int) -> Entry:
        provider = request.path.split("/", 2)[1]
        headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
        wire = self._wires.get(provider)
        key = wire.api_key(request.headers) if wire else ""
        return Entry(
            next(self._entries),
            time.time(),
            connection,
            provider,
            request.method,
            request.path,
            headers,
            request.body,
            key=fingerprint(key) if key else None,
        )

    async def _control(self, request: HTTPRequest, response: ResponseWriter) -> None:
        answer: Any = {}
        if request.path == "/_control" and request.method == "POST":
            try:
                self.script(**request.body)
            except (TypeError, ValueError) as error:
                await response.send_all(400, {"Content-Type": "text/plain"}, str(error).encode())
                return
        elif request.path == "/_control" and request.method == "DELETE":
            self._scripts.clear()
            self._by_model.clear()
        elif request.path == "/_log" and request.method == "DELETE":
            self._log.clear()
        elif request.path == "/_log" and request.method == "GET":
            answer = [asdict(entry) for entry in self._log]
        else:
            await response.send_all(404, {}, b"")
            return
        await response.send_all(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())


async def _send_raw(response: ResponseWriter, raw: dict[str, Any]) -> None:
    framed = raw.get("framed", True)
    if framed:
        headers = {"Content-Type": "text/event-stream"} | raw.get("headers", {})
        await response.start(raw.get("status", 200), headers)
    for piece in raw["pieces"]:
        if isinstance(piece, (int, float)):
            await asyncio.sleep(piece)
            continue
        data = base64.b64decode(piece["base64"]) if isinstance(piece, dict) else piece.encode()
        await (response.send(data) if framed else response.send_raw(data))
    end = raw.get("end", "clean")
    if end == "clean" and framed:
        await response.end()
    elif end == "reset":
        await asyncio.sleep(0.02)
        response.reset()
    elif end == "stall":
        await asyncio.Event().wait()
    else:
        response.close()
