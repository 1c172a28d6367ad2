"""A gate between a server and its MongoDB: it holds a chosen command, so that a kill hits that very moment.

    gate = Gate(mongodb_uri)
    …a server with MONGODB_URI=gate.uri…
    hold = gate.hold(Where("insert", "chat_message"), Side.BEFORE)
    hold.reached.wait(…)       # the server is stuck there until it is killed or `gate.open()`

`BEFORE` holds the command: the database has not seen it. `AFTER` holds the answer: the database has done
what the server does not know to be done.
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
class Where:
    """A command of one collection; `matches` looks at its documents (updates, pipeline, …) more closely."""

    command: str
    collection: str
    matches: Callable[[dict[str, Any]], bool] = lambda body: True


@dataclass(eq=False)
class Hold:
    """One command, the next that matches, is held; `reached` once it is."""

    where: Where
    side: Side
    reached: threading.Event = field(default_factory=threading.Event)
    taken: bool = False


class Gate:
    """A relay on a port of its own. `uri` leads through it."""

    def __init__(self, mongodb_uri: str) -> None:
        parts = urlsplit(mongodb_uri)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.uri = parts._replace(netloc=f"127.0.0.1:{port}", query="directConnection=true").geturl()
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        self._opened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.open()

    def hold(self, where: Where, side: Side) -> Hold:
        hold = Hold(where, side)
        with self._lock:
            self._holds.append(hold)
        return hold

    def open(self) -> None:
        """Hold nothing any more; what is held is thrown away with its connection."""
        with self._lock:
            self._holds.clear()
            self._opened.set()
            self._opened = threading.Event()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """Pass messages on, one at a time: a driver's connection asks and waits for its answer."""
        with client, contextlib.suppress(OSError), socket.create_connection(self._server) as server:
            threading.Thread(target=_answers, args=(server, client), daemon=True).start()
            while message := _read(client):
                hold = self._taken(message)
                if hold is None:
                    server.sendall(message)
                    continue
                opened = self._opened
                if hold.side is Side.AFTER:
                    self._do_and_keep_answer(message)
                hold.reached.set()
                opened.wait()
                return

    def _do_and_keep_answer(self, message: bytes) -> None:
        with socket.create_connection(self._server) as server:
            server.sendall(message)
            _read(server)

    def _taken(self, message: bytes) -> Hold | None:
        if not self._holds:
            return None
        body = _body(message)
        with self._lock:
            for hold in self._holds:
                if not hold.taken and _fits(hold.where, body):
                    hold.taken = True
                    return hold
        return None


def _answers(server: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := server.recv(65536):
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


def _fits(where: Where, body: dict[str, Any]) -> bool:
    return body.get(where.command) == where.collection and where.matches(body)


def _read(sock: socket.socket) -> bytes:
    """Return the next whole message, empty at the end."""
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
    """Return the command of an OP_MSG with its document sequences under their names, else {}."""
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
