"""What a turn costs with everything stored, against calling the provider directly, in the same run.

    python qa/bench/turns.py [--streams 200] [--turns 300]

It starts a server with a MongoDB of its own and the fake provider, each in processes of their own, and
ends them. "direct" is the same load generator calling the provider without us; it keeps its connections
open. CPU is the user and system time of the server's workers; commands are those that MongoDB's profiler
saw.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
os.environ["DJANGO_ENV"] = "test"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

import requests  # noqa: E402 - settings come first
from bson import ObjectId  # noqa: E402
from pymongo import MongoClient  # noqa: E402
from pymongo.database import Database  # noqa: E402

from qa.testing.server import RunningServer  # noqa: E402
from qa.testing.waiting import wait_until  # noqa: E402

TOKENS = 100
STREAMED = f"tokens-{TOKENS}-every-20ms"
WHOLE = " ".join(f"word{number}" for number in range(1, TOKENS + 1)).encode()
PLAIN = "bench"

#: Commands of background sweeps, which come with time and not with turns.
_SWEEPS = {("find", "chat_message"), ("aggregate", "tenants_usage")}
_WRITES = {"insert", "update", "findAndModify", "findandmodify", "delete"}


# -- the load generator -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One call; seconds from its start, `first` to the first token."""

    whole: bool
    first: float
    total: float


#: Connections that wait for the next call of the same event loop, by host and port.
_idle: dict[str, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}


async def call(
    url: str, headers: dict[str, str], body: dict[str, Any] | None, first: bytes, whole: bytes
) -> Sample:
    """POST `body`, or GET; the first token is there with `first`, the answer is whole with `whole`."""
    parts = urlsplit(url)
    content = json.dumps(body).encode() if body else b""
    lines = {"Host": parts.netloc, "Content-Type": "application/json", **headers}
    head = f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1\r\nContent-Length: {len(content)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    began, first_at, received = time.perf_counter(), 0.0, bytearray()
    idle = _idle.setdefault(parts.netloc, [])
    reader, writer = idle.pop() if idle else await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head.encode() + b"\r\n" + content)
    while not ended(received) and (data := await reader.read(65536)):
        received += data
        if not first_at and first in received:
            first_at = time.perf_counter() - began
    if ended(received):
        idle.append((reader, writer))
    else:
        writer.close()
    return Sample(whole in received, first_at, time.perf_counter() - began)


def ended(received: bytes) -> bool:
    """Whether an HTTP answer is there to its end."""
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        return bool(found) and len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")


def at_once(calls: int, width: int, one: Callable[[int], Awaitable[Sample]]) -> list[Sample]:
    """Make so many calls, at most `width` at a time."""

    async def run() -> list[Sample]:
        _idle.clear()
        room = asyncio.Semaphore(width)

        async def next_one(number: int) -> Sample:
            async with room:
                return await one(number)

        samples = await asyncio.gather(*(next_one(number) for number in range(calls)))
        for _, writer in itertools.chain.from_iterable(_idle.values()):
            writer.close()
        return samples

    return asyncio.run(run())


# -- what is measured ---------------------------------------------------------------------------


@dataclass
class Bench:
    server: RunningServer
    database: Database
    key: str
    fake_url: str

    def session(self) -> ObjectId:
        answer = requests.post(
            f"{self.server.url}/api/chat/sessions", json={}, headers={"X-API-Key": self.key}, timeout=30
        )
        return ObjectId(answer.json()["id"])

    def send(self, session: ObjectId, *, stream: bool) -> Awaitable[Sample]:
        model = STREAMED if stream else PLAIN
        body = {"message": "How long?", "stream": stream, "model": f"groq/{model}"}
        url = f"{self.server.url}/api/chat/sessions/{session}/messages"
        first, whole = (b"event: delta", b"event: done") if stream else (b"201", b'"complete"')
        return call(url, {"X-API-Key": self.key}, body, first, WHOLE if stream else whole)

    def direct(self, *, stream: bool) -> Awaitable[Sample]:
        model = STREAMED if stream else PLAIN
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "How long?"}]}
        first, whole = (b"word1", b"[DONE]") if stream else (b"200", b'"stop"')
        url = f"{self.fake_url}/chat/completions"
        return call(url, {"Authorization": "Bearer bench"}, body, first, whole)

    def health(self) -> Awaitable[Sample]:
        """The least that a request costs: Django and its middleware, no view to speak of, no database."""
        return call(f"{self.server.url}/health", {}, None, b"200", b"200")

    def cpu_seconds(self) -> float:
        times = [worker.cpu_times() for worker in self.server.workers()]
        return sum(one.user + one.system for one in times)

    def await_settlement(self) -> None:
        """Return once what follows the ends of replies is done."""
        open_replies = {"$or": [{"status": "streaming"}, {"settled": False}]}
        wait_until(lambda: not self.database.chat_message.find_one(open_replies), "all is settled")

    def asked_at(self) -> datetime:
        """When the provider was last called."""
        log = requests.get(f"{self.fake_url.split('/groq')[0]}/_log", timeout=30).json()
        return datetime.fromtimestamp(log[-1]["at"], UTC)


def show(what: str, *figures: object) -> None:
    print(f"{what:<60}" + "".join(f"{figure:>9}" for figure in figures), flush=True)


def report_commands(bench: Bench) -> None:
    before, writes, plain_writes = [], [], []
    for stream in (False, True) * 3:
        session = bench.session()
        with profiled(bench.database) as commands:
            at_once(1, 1, lambda n, session=session, stream=stream: bench.send(session, stream=stream))
            bench.await_settlement()
        asked = bench.asked_at()
        before.append(sum(at < asked and name not in _SWEEPS for name, at in commands))
        written = sum(name[0] in _WRITES for name, _ in commands)
        (writes if stream else plain_writes).append(written)
    show("database round trips before the provider is called", min(before))
    show("writes of a plain answer, settlement included", min(plain_writes))
    show("writes of a streamed answer of 2 s, settlement included", min(writes))


@contextmanager
def profiled(database: Database) -> Iterator[list[tuple[tuple[str, str], datetime]]]:
    """Fill the list with ((command, collection), when it began) of what the server is asked within."""
    database.command("profile", 2)
    began = datetime.now(UTC)
    commands: list[tuple[tuple[str, str], datetime]] = []
    yield commands
    database.command("profile", 0)
    for entry in database["system.profile"].find({"appName": "chat-agent-platform", "ts": {"$gte": began}}):
        name = next(iter(entry["command"]), entry["op"]) if entry["op"] == "command" else entry["op"]
        collection = entry["ns"].partition(".")[2]
        lasted = timedelta(milliseconds=entry["millis"])
        commands.append(((name, collection), entry["ts"] - lasted))


def report_plain(bench: Bench, turns: int) -> float:
    """Return the CPU milliseconds of one plain turn."""
    sessions = [bench.session() for _ in range(32)]  # never two turns at once in one
    cpu = 0.0
    for width in (1, 8):
        calls = turns if width > 1 else turns // 3
        direct = at_once(calls, width, lambda n: bench.direct(stream=False))
        before = bench.cpu_seconds()
        at_once(calls * 4, width, lambda n: bench.health())
        least = (bench.cpu_seconds() - before) * 1000 / (calls * 4)
        before = bench.cpu_seconds()
        ours = at_once(calls, width, lambda n: bench.send(sessions[n % 32], stream=False))
        cpu = (bench.cpu_seconds() - before) * 1000 / calls
        show(
            f"plain turn, {width} at once: server CPU, ms; times a GET /health",
            f"{cpu:.1f}",
            f"{cpu / least:.1f}x",
        )
        for name, samples in (("direct", direct), ("ours", ours)):
            median = statistics.median(sample.total for sample in samples) * 1000
            share = sum(sample.whole for sample in samples) / calls
            show(f"  {name}: median ms, complete", f"{median:.1f}", f"{share:.1%}")
    return cpu


def report_streams(bench: Bench, streams: int, plain_ms: float) -> None:
    sessions = [bench.session() for _ in range(streams)]
    at_once(streams, streams, lambda n: bench.send(sessions[n], stream=True))  # threads and connections
    direct = at_once(streams, streams, lambda n: bench.direct(stream=True))
    before = bench.cpu_seconds()
    ours = at_once(streams, streams, lambda n: bench.send(sessions[n], stream=True))
    bench.await_settlement()
    spent = (bench.cpu_seconds() - before) * 1000
    tokens = streams * TOKENS
    show(f"{streams} streams of {TOKENS} tokens at 20 ms: server CPU a token, ms", f"{spent / tokens:.3f}")
    show("  without what plain turns cost", f"{(spent - streams * plain_ms) / tokens:.3f}")
    for name, samples in (("direct", direct), ("ours", ours)):
        first = sorted(sample.first * 1000 for sample in samples)
        total = statistics.median(sample.total for sample in samples)
        share = sum(sample.whole for sample in samples) / streams
        p50, p95 = first[len(first) // 2], first[len(first) * 95 // 100]
        show(
            f"  {name}: first token p50, p95 ms; total s; complete",
            f"{p50:.0f}", f"{p95:.0f}", f"{total:.2f}", f"{share:.1%}",
        )  # fmt: skip


def report_long_sessions(bench: Bench) -> None:
    for length in (10, 1_000, 10_000):
        session = bench.session()
        fill(bench.database, session, length)
        at_once(3, 1, lambda n, session=session: bench.send(session, stream=False))
        before = bench.cpu_seconds()
        samples = at_once(40, 1, lambda n, session=session: bench.send(session, stream=False))
        cpu = (bench.cpu_seconds() - before) * 1000 / len(samples)
        median = statistics.median(sample.total for sample in samples) * 1000
        print(
            f"{f'a session of {length:,} messages: median ms, CPU ms a turn':<58} {median:>8.1f} {cpu:>8.1f}"
        )


def fill(database: Database, session: ObjectId, length: int) -> None:
    """Store so many messages before the next one, copies of a real exchange."""
    template = database.chat_message.find_one({"role": "user"})
    keep = {name: value for name, value in template.items() if name not in ("_id", "idempotency")}
    database.chat_message.insert_many(
        {
            **keep,
            "_id": ObjectId(),
            "idempotency": None,
            "session_id": session,
            "seq": seq,
            "role": "user" if seq % 2 else "assistant",
            "in_reply_to_id": None if seq % 2 else ObjectId(),
            "content": f"message {seq} " + "of some length " * 8,
        }
        for seq in range(1, length + 1)
    )


# -- the stage ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--turns", type=int, default=300)
    options = parser.parse_args()
    with stage() as bench:
        report_commands(bench)
        plain_ms = report_plain(bench, options.turns)
        report_streams(bench, options.streams, plain_ms)
        report_long_sessions(bench)


@contextmanager
def stage() -> Iterator[Bench]:
    """Yield a warm server of two workers, without limits, whose provider is the fake one."""
    with fake_provider() as fake_url, tempfile.TemporaryDirectory() as folder:
        variables = {"GROQ_API_KEY": "bench", "GROQ_BASE_URL": fake_url, "LLM_ROUTE": "groq/bench"}
        variables |= {"WORKERS": "2", "THREADS": "256", "LOG_LEVEL": "WARNING"}
        with RunningServer("", Path(folder), "--seed", **variables) as server:
            key = re.search(r"API key +(\S+)", server.output)[1]
            port = (Path(folder) / "test-mongodb" / "port").read_text()
            with MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", tz_aware=True) as client:
                database = client["chat-agent"]
                limits = ("requests_per_minute", "concurrent_turns", "messages_per_month", "tokens_per_month")
                database.tenants_plan.update_many({}, {"$set": dict.fromkeys(limits)})
                bench = Bench(server, database, key, fake_url)
                warm = bench.session()
                at_once(50, 1, lambda n: bench.send(warm, stream=False))
                yield bench


@contextmanager
def fake_provider() -> Iterator[str]:
    """Yield the base URL of a fake provider in a process of its own."""
    command = [sys.executable, "manage.py", "fake_provider", "--port", "0"]
    fake = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        lines = (line.strip() for line in fake.stdout)
        yield next(line for line in lines if line.startswith("GROQ_BASE_URL=")).partition("=")[2]
    finally:
        fake.terminate()
        fake.wait()


if __name__ == "__main__":
    main()
