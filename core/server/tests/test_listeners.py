"""Accepted connections have the time limit for clients that do not read."""

import socket
import sys

import pytest

from core.server.listeners import limit_unread_seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this limit")


def test_accepted_connections_take_over_the_limit():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert limit_unread_seconds(1.5)
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_a_client_that_does_not_read_is_disconnected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit_unread_seconds(0.5)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(TimeoutError):
                accepted.sendall(b"x" * 100_000_000)
