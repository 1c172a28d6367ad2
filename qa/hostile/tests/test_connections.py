"""Connections that are silent, slow or idle take nothing from others, and end in bounded time."""

from __future__ import annotations

import contextlib
import socket

import pytest
import requests

from core.server.adapter import UNREAD_SECONDS
from qa.hostile.attacks import Caller
from qa.hostile.sockets import Connections, connections
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEADER_SECONDS = 10
BODY_SECONDS = 30
#: What a busy machine may add to a time limit.
SLACK_SECONDS = 10

LOGIN = b"POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PLAIN = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"

#: What a connection sends before it falls silent.
WITHOUT_REQUEST = {
    "silent": b"",
    "half a request line": b"GET /hea",
    "half of the headers": PLAIN,
    "idle after a request": PLAIN + b"\r\n",
}
HALF_A_BODY = {
    "of known length": LOGIN + b'Content-Length: 100\r\n\r\n{"email": "',
    "in chunks": LOGIN + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ema\r\n',
    "none of it": LOGIN + b"Content-Length: 1000000\r\n\r\n",
}


def opened(product: RunningServer, stack: contextlib.ExitStack, each: int, *groups: dict[str, bytes]):
    return {
        name: stack.enter_context(connections(product.url, data, each))
        for group in groups
        for name, data in group.items()
    }


def send(product: RunningServer, caller: Caller) -> requests.Response:
    return requests.post(
        f"{product.url}/api/chat",
        json={"message": "Hello"},
        headers={"X-API-Key": caller.key, "Connection": "close"},
        timeout=SLACK_SECONDS,
    )


def test_two_thousand_open_connections_take_nothing_from_others(product, victim):
    with contextlib.ExitStack() as stack:
        opened(product, stack, 300, WITHOUT_REQUEST, HALF_A_BODY)
        for _ in range(5):
            assert send(product, victim).status_code == 200
            assert product.is_answering()


def test_connections_without_a_complete_request_are_closed(product):
    with contextlib.ExitStack() as stack:
        for name, group in opened(product, stack, 5, WITHOUT_REQUEST).items():
            group.wait(HEADER_SECONDS + SLACK_SECONDS)
            assert group.open == 0, name


@pytest.mark.proof
def test_bodies_that_stall_end_with_an_error_and_are_closed(product):
    with contextlib.ExitStack() as stack:
        for name, group in opened(product, stack, 5, HALF_A_BODY).items():
            group.wait(BODY_SECONDS + SLACK_SECONDS)
            assert group.open == 0, name
            assert answers(group) == {b"HTTP/1.1 408 Request Timeout"}, name


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", (b"414", b"431")),
        (PLAIN + b"X-Long: " + b"a" * 70_000 + b"\r\n", (b"431",)),
        (PLAIN + b"".join(b"X-%d: a\r\n" % number for number in range(200)), (b"431",)),
    ],
)
def test_a_head_beyond_the_limits_is_refused(product, head, status):
    with connections(product.url, head + b"\r\n", 1) as group:
        group.wait(SLACK_SECONDS)
        assert group.open == 0
        (answer,) = answers(group)
        assert answer.split()[1] in status


def test_a_body_in_chunks_is_read_and_a_larger_one_than_allowed_is_refused(product, victim):
    def chunks(size: int):
        yield b'{"message": "'
        yield from (b"x" * 10_000 for _ in range(size // 10_000))
        yield b'"}'

    def status(size: int) -> int:
        headers = {"X-API-Key": victim.key, "Content-Type": "application/json"}
        return requests.post(
            f"{product.url}/api/chat", data=chunks(size), headers=headers, timeout=SLACK_SECONDS
        ).status_code

    assert status(10_000) == 200
    assert status(2_000_000) == 413


def answers(group: Connections) -> set[bytes]:
    """Return the status lines that the connections got."""
    return {bytes(received).partition(b"\r\n")[0] for received in group.received.values()}


@pytest.mark.proof
def test_clients_that_do_not_read_their_response_are_disconnected(product):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", int(product.url.rpartition(":")[2])))
        client.sendall(b"GET /api/schema HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)

        def connections_to_client() -> list[object]:
            return [
                connection
                for worker in product.workers()
                for connection in worker.net_connections("tcp4")
                if connection.raddr == client.getsockname()
            ]

        wait_until(connections_to_client, "it is connected")
        wait_until(lambda: not connections_to_client(), "it is disconnected", UNREAD_SECONDS + 30)
