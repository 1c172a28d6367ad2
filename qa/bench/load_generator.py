"""Many HTTP calls at once, each timed to its first token and to its end, over connections kept open."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call; `first` and `total` are seconds from its start to the first token and to the end."""

    is_complete: bool
    first: float
    total: float


Call = Callable[[], Awaitable[Sample]]

#: Connections that wait for the next call of the same event loop, by host and port.
_idle: dict[str, list[Connection]] = {}


async def call(
    url: str, headers: dict[str, str], body: dict[str, Any] | None, first: bytes, complete: bytes
) -> Sample:
    """POST `body`, or GET without one.

    The first token has arrived with the bytes `first`; an answer that contains `complete` is complete.
    """
    parts = urlsplit(url)
    request = _request(parts.netloc, parts.path, headers, json.dumps(body).encode() if body else b"")
    began, first_at, received = time.perf_counter(), 0.0, bytearray()
    idle = _idle.setdefault(parts.netloc, [])
    reader, writer = idle.pop() if idle else await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    while not _has_ended(received) and (data := await reader.read(65536)):
        received += data
        if not first_at and first in received:
            first_at = time.perf_counter() - began
    if _has_ended(received):
        idle.append((reader, writer))
    else:
        writer.close()
    return Sample(complete in received, first_at, time.perf_counter() - began)


def make_calls(calls: Sequence[Call], concurrency: int) -> list[Sample]:
    """Make the calls in order, at most `concurrency` at a time."""
    return asyncio.run(_make_calls(calls, concurrency))


async def _make_calls(calls: Sequence[Call], concurrency: int) -> list[Sample]:
    _idle.clear()  # They belong to the event loop before.
    slots = asyncio.Semaphore(concurrency)

    async def make(call: Call) -> Sample:
        async with slots:
            return await call()

    samples = await asyncio.gather(*map(make, calls))
    for _, writer in itertools.chain.from_iterable(_idle.values()):
        writer.close()
    return samples


def _request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": host, "Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + b"\r\n" + body


def _has_ended(received: bytes | bytearray) -> bool:
    """Whether an HTTP answer has been received to its end."""
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
        return bool(found) and len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")
