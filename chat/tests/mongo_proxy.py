"""A proxy between a server and its MongoDB that holds a chosen command, so that a kill hits that moment.

    proxy = MongoProxy(mongodb_uri)
    …a server with MONGODB_URI=proxy.uri…
    hold = proxy.hold(Command("insert", "chat_message"), Side.BEFORE)
    hold.reached.wait(…)       # the server is blocked there until it is killed, or until `proxy.release()`

`BEFORE` holds the command: the database has not received it. `AFTER` holds the response: the database has
applied what the server does not know to be applied.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import bson

_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")


class Side(enum.Enum):
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Command:
    """A command on one collection; `matches` decides by its documents (updates, pipeline, …)."""

    name: str
    collection: str
    matches: Callable[[dict[str, Any]], bool] = lambda body: True


@dataclass(eq=False)
class Hold:
    """Holds one command, the next that matches; `reached` is set once it is held."""

    command: Command
    side: Side
    reached: threading.Event = field(default_factory=threading.Event)
    taken: bool = False


class MongoProxy:
    """A proxy on a port of its own. `uri` is the database's URI by way of it."""

    def __init__(self, mongodb_uri: str) -> None:
        parts = urlsplit(mongodb_uri)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.uri = parts._replace(netloc=f"127.0.0.1:{port}", query="directConnection=true").geturl()
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        self._released = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.release()

    def hold(self, command: Command, side: Side) -> Hold:
        hold = Hold(command, side)
        with self._lock:
            self._holds.append(hold)
        return hold

    def release(self) -> None:
        """Hold no command any more. Those that are held are dropped with their connections."""
        with self._lock:
            self._holds.clear()
            self._released.set()
            self._released = threading.Event()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """Forward messages, one at a time: a driver's connection sends one and waits for its response."""
        with client, contextlib.suppress(OSError), socket.create_connection(self._server) as server:
            threading.Thread(target=_forward_responses, args=(server, client), daemon=True).start()
            while message := _read(client):
                hold = self._taken(message)
                if hold is None:
                    server.sendall(message)
                    continue
                released = self._released
                if hold.side is Side.AFTER:
                    self._apply_without_response(message)
                hold.reached.set()
                released.wait()
                return

    def _apply_without_response(self, message: bytes) -> None:
        with socket.create_connection(self._server) as server:
            server.sendall(message)
            _read(server)

    def _taken(self, message: bytes) -> Hold | None:
        if not self._holds:
            return None
        body = _body(message)
        with self._lock:
            for hold in self._holds:
                if not hold.taken and _matches(hold.command, body):
                    hold.taken = True
                    return hold
        return None


def _forward_responses(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def _matches(command: Command, body: dict[str, Any]) -> bool:
    return body.get(command.name) == command.collection and command.matches(body)


def _read(sock: socket.socket) -> bytes:
    """Return the next message, empty at the end."""
    head = _exactly(sock, _HEADER.size)
    return head and head + _exactly(sock, _HEADER.unpack(head)[0] - len(head))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            return b""
        data += more
    return data


def _body(message: bytes) -> dict[str, Any]:
    """Return the command of an OP_MSG with its document sequences by name; {} for other messages."""
    if _HEADER.unpack_from(message)[3] != _OP_MSG:
        return {}
    found: dict[str, Any] = {}
    at = _HEADER.size + 4
    while at < len(message):
        kind, at = message[at], at + 1
        size = struct.unpack_from("<i", message, at)[0]
        if kind == 0:
            found |= bson.decode(message[at : at + size])
        else:
            name, _, documents = message[at + 4 : at + size].partition(b"\0")
            found[name.decode()] = bson.decode_all(documents)
        at += size
    return found
