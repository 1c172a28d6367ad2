"""The fake provider as a server: it answers, fails on demand, and remembers what it received.

Paths: `/groq/openai/v1`, `/openrouter/api/v1`, `/openai_compatible/v1`,
`/local/v1` and `/gemini/v1beta` are base URLs, each with its wire.

    POST   /_control   {"provider"?, "model"?, "faults"? | "fault"?, "times"?, "seconds"?, "headers"?,
                        "answer"?, "raw"?}: see `Script`
    DELETE /_control   forget all scripts
    GET    /_log       what was received, oldest first: see `Entry`
    DELETE /_log       forget it
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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from qa.fake_provider import faults
from qa.fake_provider.answers import Ask, answer_to
from qa.fake_provider.connection import Protocol, Reply, Request, read_request
from qa.fake_provider.wires import GeminiWire, OpenAIWire, Wire, WireError

BASE_PATHS = {
    "groq": "/groq/openai/v1",
    "gemini": "/gemini/v1beta",
    "openrouter": "/openrouter/api/v1",
    "openai_compatible": "/openai_compatible/v1",
    "local": "/local/v1",
}
_KEYLESS = {"openai_compatible", "local"}

#: A key that every provider refuses; all others are welcome.
WRONG_KEY = "wrong-key"

_SECRET_HEADERS = {"authorization", "x-goog-api-key"}


def fingerprint(key: str) -> str:
    """Return what the log shows in place of `key`."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass
class Entry:
    """One request as received. `at` and `hung_up_after` are seconds, of the clock and since then.

    `key` is the fingerprint of the key, None without one. `connection` counts the
    connections: equal numbers mean that one was used again.
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
    hung_up_after: float | None = None


@dataclass
class Script:
    """What happens to the calls that match `provider` and `model` ("*" is any).

    `faults` are for the next calls, one each, None being a healthy one; then
    `fault` holds, for `times` calls or until `seconds` after the first, or for ever.
    `headers` are added to every answer, `answer` sets fields of the `Answer`.
    `raw` replaces the answer, also that to a list of models, for `times` calls or for ever:
    {"status"?, "headers"?, "pieces": [text or {"base64"} or seconds to pause],
    "end"?: "clean" | "close" | "reset" | "stall", "framed"?: false to send the pieces without HTTP}.
    """

    provider: str = "*"
    model: str = "*"
    faults: Iterable[str | None] = ()
    fault: str | None = None
    times: int | None = None
    seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    raw: dict[str, Any] | None = None
    _calls: int = field(default=0, init=False, repr=False)
    _first_at: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.faults = deque(self.faults)
        for spec in [*self.faults, self.fault]:
            if spec is not None:
                faults.parse(spec)

    def matches(self, ask: Ask) -> bool:
        used_up = self.raw is not None and self.times is not None and self._calls >= self.times
        return not used_up and self.provider in ("*", ask.provider) and self.model in ("*", ask.model)

    def next_fault(self) -> faults.Spec | None:
        """Return the fault of this call, and count it."""
        now = time.monotonic()
        self._first_at = self._first_at or now
        if self.raw is not None:
            self._calls += 1
        if self.faults:
            spec = self.faults.popleft()
            return faults.parse(spec) if spec else None
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
        self._wires: dict[str, Wire] = {name: OpenAIWire(name) for name in BASE_PATHS if name != "gemini"}
        self._wires["gemini"] = GeminiWire("gemini")
        self._scripts: list[Script] = []
        self._by_model: dict[tuple[str, str], Script] = {}
        self._log: deque[Entry] = deque(maxlen=10_000)
        self._entries, self._connections = itertools.count(1), itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

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
        """Add a `Script`; the latest that matches a call holds."""
        self._scripts.insert(0, Script(**script))

    def reset(self) -> None:
        """Forget scripts, counts of faults and the log."""
        self._scripts.clear()
        self._by_model.clear()
        self._log.clear()

    def log(self, provider: str | None = None) -> list[Entry]:
        return [entry for entry in list(self._log) if provider in (None, entry.provider)]

    def wait_for(self, condition: Callable[[list[Entry]], Any], seconds: float = 5) -> Any:
        """Return what `condition` says of the log once that is true. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            if result := condition(self.log()):
                return result
            if time.monotonic() > deadline:
                raise TimeoutError(f"The log of the fake provider did not come to it: {self.log()}")
            time.sleep(0.005)

    # -- serving ----------------------------------------------------------------

    async def _run(self, ready: threading.Event | None, started: Callable[[], None] = lambda: None) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

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
            lambda: Protocol(serve), self._host, self._port, ssl=self._tls, backlog=1024
        )
        self._port = server.sockets[0].getsockname()[1]
        started()
        if ready is not None:
            ready.set()
        await self._stopped.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = next(self._connections)
        protocol: Protocol = writer.transport.get_protocol()
        while request := await read_request(reader):
            reply = Reply(writer)
            if request.path.startswith("/_"):
                await self._control(request, reply)
                continue
            entry = self._entry(request, connection)
            self._log.append(entry)
            begun = time.monotonic()
            protocol.answering = asyncio.ensure_future(self._answer(request, entry, reply))
            try:
                await protocol.answering
            except (asyncio.CancelledError, ConnectionError):
                if not protocol.hung_up and reply.open and not writer.is_closing():
                    raise
            if protocol.hung_up:
                entry.hung_up_after = time.monotonic() - begun
            entry.sent_bytes, entry.status, entry.finished = reply.sent_bytes, reply.status, reply.ended
            if protocol.hung_up or not reply.ended or not reply.open:
                return

    async def _answer(self, request: Request, entry: Entry, reply: Reply) -> None:
        wire = self._wires.get(entry.provider)
        if wire is None:
            await reply.whole(404, {"Content-Type": "text/html"}, b"<html>no such path</html>")
            return
        nobody = faults.Scene(reply, wire, Ask(entry.provider, "", False), answer_to(Ask("", "", False)))
        key = wire.key(request.headers)
        if key == WRONG_KEY or (not key and entry.provider not in _KEYLESS):
            await faults.strike(faults.Spec("401"), nobody)
            return
        try:
            ask = nobody.ask
            if request.method == "POST":
                ask = wire.ask(request.path.partition("?")[0], request.body or {})
        except WireError as error:
            await nobody.error(error.status, error.code, error.message)
            return
        entry.model, entry.stream = ask.model, ask.stream
        script = self._script_for(ask)
        spec = script.next_fault()
        entry.fault = spec.name if spec else None
        if script.raw is not None:
            await _send_raw(reply, script.raw)
            return
        if request.method == "GET":
            await nobody.json(200, wire.models())
            return
        scene = faults.Scene(reply, wire, ask, answer_to(ask, script.answer), script.headers)
        await (faults.strike(spec, scene) if spec else scene.healthy())

    def _script_for(self, ask: Ask) -> Script:
        for script in self._scripts:
            if script.matches(ask):
                return script
        place = (ask.provider, ask.model)
        if place not in self._by_model:
            fault = ask.model if ask.model.startswith(faults.MODEL_PREFIX) else None
            self._by_model[place] = Script(fault=fault)
        return self._by_model[place]

    def _entry(self, request: Request, connection: int) -> Entry:
        provider = request.path.split("/", 2)[1]
        headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
        wire = self._wires.get(provider)
        key = wire.key(request.headers) if wire else ""
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

    async def _control(self, request: Request, reply: Reply) -> None:
        answer: Any = {}
        if request.path == "/_control" and request.method == "POST":
            try:
                self.script(**request.body)
            except (TypeError, ValueError) as error:
                await reply.whole(400, {"Content-Type": "text/plain"}, str(error).encode())
                return
        elif request.path == "/_control" and request.method == "DELETE":
            self._scripts.clear()
            self._by_model.clear()
        elif request.path == "/_log" and request.method == "DELETE":
            self._log.clear()
        elif request.path == "/_log" and request.method == "GET":
            answer = [asdict(entry) for entry in self._log]
        else:
            await reply.whole(404, {}, b"")
            return
        await _json(reply, answer)


async def _json(reply: Reply, body: Any) -> None:
    await reply.whole(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


async def _send_raw(reply: Reply, raw: dict[str, Any]) -> None:
    framed = raw.get("framed", True)
    if framed:
        headers = {"Content-Type": "text/event-stream"} | raw.get("headers", {})
        await reply.start(raw.get("status", 200), headers)
    for piece in raw["pieces"]:
        if isinstance(piece, (int, float)):
            await asyncio.sleep(piece)
            continue
        data = base64.b64decode(piece["base64"]) if isinstance(piece, dict) else piece.encode()
        await (reply.send(data) if framed else reply.raw(data))
    end = raw.get("end", "clean")
    if end == "clean" and framed:
        await reply.end()
    elif end == "reset":
        await asyncio.sleep(0.02)
        reply.reset()
    elif end == "stall":
        await asyncio.Event().wait()
    else:
        reply.close()
