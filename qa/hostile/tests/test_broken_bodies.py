"""A body that breaks off, or whose framing is malformed, is not taken for a shorter one."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from chat.models import ChatSession
from core.server.bodies import MAX_SMALL_PIECES
from qa.hostile.attacks import Caller
from qa.hostile.sockets import connections
from qa.testing.server import RunningServer

pytestmark = pytest.mark.django_db

PATIENCE_SECONDS = 20


def head(caller: Caller, framing: str) -> bytes:
    """Return a request that opens a session, for which an empty body is enough."""
    lines = [
        "POST /api/chat/sessions HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        "Content-Type: application/json",
        f"X-API-Key: {caller.key}",
        framing,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(server: RunningServer, request: bytes, *, then_ends: bool = False) -> bytes:
    """Send `request`, and end the sending side if it `then_ends`. Return what comes back."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.settimeout(PATIENCE_SECONDS)
        received = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
            if then_ends:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                received += chunk
    return received


def problem(received: bytes) -> tuple[int, str]:
    response_head, _, body = received.partition(b"\r\n\r\n")
    return int(response_head.split()[1]), json.loads(body)["code"]


LENGTH_100 = "Content-Length: 100"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (LENGTH_100, b""),
        (LENGTH_100, b"{}"),
        (CHUNKED, b""),
        (CHUNKED, b"2\r\n{}\r\n"),
        (CHUNKED, b"5\r\n{}"),
    ],
)
def test_a_request_whose_body_breaks_off_does_nothing(product, victim, framing, body):
    received = answer(product, head(victim, framing) + body, then_ends=True)
    assert problem(received) == (400, "body_incomplete")
    assert not ChatSession.objects.filter(tenant=victim.tenant).exists()


@pytest.mark.parametrize(
    "body",
    [
        b"2\r\n{}\r\nz\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
        b"2;" + b"x" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX-API-Key: other\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
def test_a_request_with_malformed_framing_does_nothing(product, victim, body):
    assert problem(answer(product, head(victim, CHUNKED) + body)) == (400, "body_incomplete")
    assert not ChatSession.objects.filter(tenant=victim.tenant).exists()


def test_a_body_that_ends_as_announced_is_read(product, victim):
    for framing, body in [("Content-Length: 2", b"{}"), (CHUNKED, b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")]:
        assert answer(product, head(victim, framing) + body).startswith(b"HTTP/1.1 201 ")


def test_a_body_in_very_small_pieces_is_refused_before_its_end(product, victim):
    """A million pieces of one byte once took a worker five seconds, before any limit counted."""
    body = b"1\r\n \r\n" * (MAX_SMALL_PIECES + 100)
    with connections(product.url, head(victim, CHUNKED) + body, 1) as group:
        group.wait(PATIENCE_SECONDS)
        assert group.open == 0
        (received,) = group.received.values()
    assert problem(bytes(received)) == (400, "body_in_pieces")
