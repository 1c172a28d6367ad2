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
    """Open sockets that each have sent `data` and nothing more."""

    def __init__(self, url: str, data: bytes, count: int) -> None:
        parts = urlsplit(url)
        address = (parts.hostname, parts.port)
        self._selector = selectors.DefaultSelector()
        self.received: dict[socket.socket, bytearray] = {}
        for _ in range(count):
            connection = socket.create_connection(address, timeout=30)
            connection.sendall(data)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            self.received[connection] = bytearray()

    @property
    def open(self) -> int:
        """How many the server has not closed, as far as `wait` has seen."""
        return len(self._selector.get_map())

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
def connections(url: str, data: bytes, count: int) -> Iterator[Connections]:
    opened = Connections(url, data, count)
    try:
        yield opened
    finally:
        opened.close()
