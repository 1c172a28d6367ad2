"""The cost of a turn with everything stored, compared with direct calls of the provider in the same run.

    python -m qa.bench.turns [--streams 200] [--turns 300]

It starts a server with its own MongoDB and the fake provider, each in their own processes, and ends them.
"direct" is the same load generator calling the provider without this server; it keeps its connections
open. CPU is the user and system time of the server's workers; commands are those that MongoDB's profiler
recorded.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import requests
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from qa.bench.environment import fake_provider, set_up_django
from qa.bench.load_generator import Sample, call, make_calls
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until

TOKENS = 100
STREAMED_MODEL = f"tokens-{TOKENS}-every-20ms"
PLAIN_MODEL = "bench"
FULL_TEXT = " ".join(f"word{number}" for number in range(1, TOKENS + 1)).encode()

#: Commands of background sweeps, which come with time and not with turns.
_SWEEPS = {("find", "chat_message"), ("aggregate", "tenants_usage")}
_WRITES = {"insert", "update", "findAndModify", "findandmodify", "delete"}


@dataclass
class Installation:
    """A running server, its database, and the fake provider that it calls."""

    server: RunningServer
    database: Database[dict[str, Any]]
    key: str
    fake_url: str

    def create_session(self) -> ObjectId:
        response = requests.post(
            f"{self.server.url}/api/chat/sessions", json={}, headers={"X-API-Key": self.key}, timeout=30
        )
        return ObjectId(response.json()["id"])

    def send(self, session: ObjectId, *, stream: bool) -> Awaitable[Sample]:
        """Send a message to the server."""
        model = STREAMED_MODEL if stream else PLAIN_MODEL
        body = {"message": "How long?", "stream": stream, "model": f"groq/{model}"}
        url = f"{self.server.url}/api/chat/sessions/{session}/messages"
        first, complete = (b"event: delta", b"event: done") if stream else (b"201", b'"complete"')
        return call(url, {"X-API-Key": self.key}, body, first, FULL_TEXT if stream else complete)

    def call_provider(self, *, stream: bool) -> Awaitable[Sample]:
        """Send the same question to the provider, without the server."""
        model = STREAMED_MODEL if stream else PLAIN_MODEL
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "How long?"}]}
        first, complete = (b"word1", b"[DONE]") if stream else (b"200", b'"stop"')
        url = f"{self.fake_url}/chat/completions"
        return call(url, {"Authorization": "Bearer bench"}, body, first, complete)

    def get_health(self) -> Awaitable[Sample]:
        """The least that a request costs: Django and its middleware, a trivial view, no database."""
        return call(f"{self.server.url}/health", {}, None, b"200", b"200")

    def cpu_seconds(self) -> float:
        times = [worker.cpu_times() for worker in self.server.workers()]
        return sum(one.user + one.system for one in times)

    def await_settlement(self) -> None:
        """Return once every reply has ended and is settled."""
        open_replies = {"$or": [{"status": "streaming"}, {"settled": False}]}
        wait_until(lambda: not self.database.chat_message.find_one(open_replies), "all is settled")

    def provider_called_at(self) -> datetime:
        """Return when the provider was last called."""
        log = requests.get(f"{self.fake_url.split('/groq')[0]}/_log", timeout=30).json()
        return datetime.fromtimestamp(log[-1]["at"], UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--turns", type=int, default=300)
    options = parser.parse_args()
    with installation() as installed:
        report_commands(installed)
        plain_ms = report_plain(installed, options.turns)
        report_streams(installed, options.streams, plain_ms)
        report_long_sessions(installed)


@contextmanager
def installation() -> Iterator[Installation]:
    """Yield a warm server of two workers, without limits, that calls the fake provider."""
    set_up_django()
    with fake_provider() as fake_url, tempfile.TemporaryDirectory() as folder:
        variables = {"GROQ_API_KEY": "bench", "GROQ_BASE_URL": fake_url, "LLM_ROUTE": "groq/bench"}
        variables |= {"WORKERS": "2", "THREADS": "256", "LOG_LEVEL": "WARNING"}
        with RunningServer("", Path(folder), "--seed", **variables) as server:
            key = re.findall(r"API key +(\S+)", server.output)[0]
            with _client(Path(folder)) as client:
                installed = Installation(server, client["chat-agent"], key, fake_url)
                _remove_limits(installed.database)
                warm = installed.create_session()
                make_calls([partial(installed.send, warm, stream=False)] * 50, 1)
                yield installed


def _client(folder: Path) -> MongoClient[dict[str, Any]]:
    port = (folder / "test-mongodb" / "port").read_text()
    return MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", tz_aware=True)


def _remove_limits(database: Database[dict[str, Any]]) -> None:
    limits = ("requests_per_minute", "concurrent_turns", "messages_per_month", "tokens_per_month")
    database.tenants_plan.update_many({}, {"$set": dict.fromkeys(limits)})


# -- reports ------------------------------------------------------------------------------------


def print_row(what: str, *figures: object) -> None:
    print(f"{what:<60}" + "".join(f"{figure:>9}" for figure in figures), flush=True)


def report_commands(installed: Installation) -> None:
    before: list[int] = []
    writes: list[int] = []
    plain_writes: list[int] = []
    for stream in (False, True) * 3:
        session = installed.create_session()
        with profiled(installed.database) as commands:
            make_calls([partial(installed.send, session, stream=stream)], 1)
            installed.await_settlement()
        called_at = installed.provider_called_at()
        before.append(sum(at < called_at and name not in _SWEEPS for name, at in commands))
        written = sum(name[0] in _WRITES for name, _ in commands)
        (writes if stream else plain_writes).append(written)
    print_row("database round trips before the provider is called", min(before))
    print_row("writes of a plain answer, settlement included", min(plain_writes))
    print_row("writes of a streamed answer of 2 s, settlement included", min(writes))


@contextmanager
def profiled(database: Database[dict[str, Any]]) -> Iterator[list[tuple[tuple[str, str], datetime]]]:
    """Yield a list that holds, after the block, ((command, collection), start) of the server's commands."""
    database.command("profile", 2)
    began = datetime.now(UTC)
    commands: list[tuple[tuple[str, str], datetime]] = []
    yield commands
    database.command("profile", 0)
    for entry in database["system.profile"].find({"appName": "chat-agent-platform", "ts": {"$gte": began}}):
        name = next(iter(entry["command"]), entry["op"]) if entry["op"] == "command" else entry["op"]
        collection = entry["ns"].partition(".")[2]
        duration = timedelta(milliseconds=entry["millis"])
        commands.append(((name, collection), entry["ts"] - duration))


def report_plain(installed: Installation, turns: int) -> float:
    """Return the CPU milliseconds of one plain turn."""
    sessions = [installed.create_session() for _ in range(32)]  # never two turns at once in one
    cpu = 0.0
    for concurrency in (1, 8):
        calls = turns if concurrency > 1 else turns // 3
        direct = make_calls([partial(installed.call_provider, stream=False)] * calls, concurrency)
        before = installed.cpu_seconds()
        make_calls([installed.get_health] * calls * 4, concurrency)
        least = (installed.cpu_seconds() - before) * 1000 / (calls * 4)
        before = installed.cpu_seconds()
        ours = make_calls(
            [partial(installed.send, sessions[n % 32], stream=False) for n in range(calls)], concurrency
        )
        cpu = (installed.cpu_seconds() - before) * 1000 / calls
        print_row(
            f"plain turn, {concurrency} at once: server CPU, ms; times a GET /health",
            f"{cpu:.1f}",
            f"{cpu / least:.1f}x",
        )
        for name, samples in (("direct", direct), ("ours", ours)):
            median = statistics.median(sample.total for sample in samples) * 1000
            complete = sum(sample.is_complete for sample in samples) / calls
            print_row(f"  {name}: median ms, complete", f"{median:.1f}", f"{complete:.1%}")
    return cpu


def report_streams(installed: Installation, streams: int, plain_ms: float) -> None:
    sessions = [installed.create_session() for _ in range(streams)]
    sends = [partial(installed.send, session, stream=True) for session in sessions]
    make_calls(sends, streams)  # Starts the server's threads and connections.
    direct = make_calls([partial(installed.call_provider, stream=True)] * streams, streams)
    before = installed.cpu_seconds()
    ours = make_calls(sends, streams)
    installed.await_settlement()
    cpu_ms = (installed.cpu_seconds() - before) * 1000
    tokens = streams * TOKENS
    print_row(
        f"{streams} streams of {TOKENS} tokens at 20 ms: server CPU a token, ms", f"{cpu_ms / tokens:.3f}"
    )
    print_row("  without what plain turns cost", f"{(cpu_ms - streams * plain_ms) / tokens:.3f}")
    for name, samples in (("direct", direct), ("ours", ours)):
        first = sorted(sample.first * 1000 for sample in samples)
        total = statistics.median(sample.total for sample in samples)
        complete = sum(sample.is_complete for sample in samples) / streams
        p50, p95 = first[len(first) // 2], first[len(first) * 95 // 100]
        print_row(
            f"  {name}: first token p50, p95 ms; total s; complete",
            f"{p50:.0f}", f"{p95:.0f}", f"{total:.2f}", f"{complete:.1%}",
        )  # fmt: skip


def report_long_sessions(installed: Installation) -> None:
    for length in (10, 1_000, 10_000):
        session = installed.create_session()
        fill(installed.database, session, length)
        make_calls([partial(installed.send, session, stream=False)] * 3, 1)
        before = installed.cpu_seconds()
        samples = make_calls([partial(installed.send, session, stream=False)] * 40, 1)
        cpu = (installed.cpu_seconds() - before) * 1000 / len(samples)
        median = statistics.median(sample.total for sample in samples) * 1000
        print_row(
            f"a session of {length:,} messages: median ms, CPU ms a turn", f"{median:.1f}", f"{cpu:.1f}"
        )


def fill(database: Database[dict[str, Any]], session: ObjectId, length: int) -> None:
    """Store `length` messages in the session, copies of a message of another one."""
    template = database.chat_message.find_one({"role": "user"}) or {}
    common = {name: value for name, value in template.items() if name not in ("_id", "idempotency")}
    database.chat_message.insert_many(
        {
            **common,
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


if __name__ == "__main__":
    main()
