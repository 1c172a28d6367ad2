"""Raw connections to a server, many at once, in one thread."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit


class Connections:
    """Open sockets that each have sent `data` and nothing more.

    With `buffer_bytes` each receives so much at once, and the rest when that is read.
    """

    def __init__(self, url: str, data: bytes, count: int, buffer_bytes: int = 0) -> None:
        parts = urlsplit(url)
        address = (parts.hostname, parts.port)
        self._selector = selectors.DefaultSelector()
        self.received: dict[socket.socket, bytearray] = {}
        for _ in range(count):
            connection = socket.socket()
            connection.settimeout(30)
            if buffer_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            connection.connect(address)
            connection.sendall(data)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            self.received[connection] = bytearray()

    @property
    def open(self) -> int:
        """How many the server has not closed, as far as `wait` has seen."""
        return len(self._selector.get_map())

    def answered(self) -> int:
        """Return how many have got something that is not read yet."""
        return len(self._selector.select(0))

    def wait(self, seconds: float) -> float:
        """Read until the server has closed all of them, at most `seconds`. Return how long that took."""
        began = time.monotonic()
        while self.open and (rest := began + seconds - time.monotonic()) > 0:
            for key, _ in self._selector.select(rest):
                connection = cast("socket.socket", key.fileobj)
                try:
                    data = connection.recv(65536)
                except ConnectionError:
                    data = b""
                self.received[connection] += data
                if not data:
                    self._selector.unregister(connection)
        return time.monotonic() - began

    def close(self) -> None:
        self._selector.close()
        for connection in self.received:
            connection.close()


@contextmanager
def connections(url: str, data: bytes, count: int, buffer_bytes: int = 0) -> Iterator[Connections]:
    opened = Connections(url, data, count, buffer_bytes)
    try:
        yield opened
    finally:
        opened.close()
