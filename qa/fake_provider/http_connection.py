"""Minimal HTTP/1.1 for the fake provider, with every way to break a response."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_MAX_HEAD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """`headers` have lower-case names; `body` is the decoded JSON, None if there is none."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


async def read_request(reader: asyncio.StreamReader) -> HTTPRequest | None:
    """Return the next request of the connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return HTTPRequest(method, path, headers, json.loads(content) if content else None)


class ServerProtocol(asyncio.StreamReaderProtocol):
    """Detects that the client disconnects, also while nothing is read or written; cancels the answer then."""

    def __init__(self, serve: Callable[..., Any]) -> None:
        super().__init__(asyncio.StreamReader(limit=_MAX_HEAD_BYTES), serve)
        self.client_disconnected = False
        self.answering: asyncio.Task[None] | None = None

    def eof_received(self) -> bool | None:
        self._client_disconnected()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_disconnected()
        super().connection_lost(exc)

    def _client_disconnected(self) -> None:
        if self.answering is not None and not self.answering.done():
            self.client_disconnected = True
            self.answering.cancel()


class ResponseWriter:
    """Writes one response. `sent_bytes` counts the body.

    `keep_alive` is False once the connection cannot be used again.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.sent_bytes = 0
        self.keep_alive = True
        self.ended = False
        self.status: int | None = None

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of a response with a chunked body."""
        await self._send_head(status, {**headers, "Transfer-Encoding": "chunked"})

    async def send(self, data: bytes) -> None:
        if data:
            self.sent_bytes += len(data)
            await self.send_raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        self.ended = True
        await self.send_raw(b"0\r\n\r\n")

    async def send_all(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a complete response."""
        await self._send_head(status, {**headers, "Content-Length": str(len(body))})
        self.sent_bytes += len(body)
        self.ended = True
        await self.send_raw(body)

    async def send_raw(self, data: bytes) -> None:
        """Write bytes without any framing."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self.keep_alive = False
        self._writer.close()

    def reset(self) -> None:
        """Close with RST: data that the client has not read yet may be lost."""
        self.keep_alive = False
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send_raw("\r\n".join([*lines, "", ""]).encode("latin-1"))
