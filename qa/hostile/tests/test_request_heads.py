"""Request lines and headers over real sockets: bounded, cheap, and harmless in the log."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest

from config.launch.supervisor import MAX_HEAD_BYTES
from core.api.middleware import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until

# The product's database is prepared only where tests say that they use it.
pytestmark = pytest.mark.django_db

FORGED = "2026-01-01T00:00:00.000Z info    user logged in"


def exchange(server: RunningServer, head: bytes) -> tuple[int, bytes]:
    """Send a request as it is; return status and answer. The server closes the connection."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(head)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def head(target: str = "/health", method: str = "GET", **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
    headers = {"Host": "127.0.0.1", **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def worker_seconds(server: RunningServer) -> float:
    """Return the processor time that the workers have used."""
    times = [worker.cpu_times() for worker in server.workers()]
    return sum(time.user + time.system for time in times)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("/" + "-eyJ" * 15_000), 414),
        (head("/health?" + "a&" * 16_000), 414),
        (head("/" + "a" * (MAX_TARGET_BYTES + 1)), 414),
        (head("/" + "a" * (MAX_TARGET_BYTES - 1)), 404),
        (head(Authorization="Bearer " + "-eyJ" * 5_000), 431),
        (head(X_Any="a" * (MAX_HEADER_BYTES + 1)), 431),
        (head(X_Any="a" * MAX_HEADER_BYTES), 200),
        (head(X_Any="a" * 2 * MAX_HEAD_BYTES), 431),
        (head(**{f"X_{number}": "a" for number in range(200)}), 431),
        (head(method="M1"), 405),
        (head(method="M" * 1000), 405),
    ],
)
def test_request_lines_and_headers_are_bounded(product, request_head, status):
    assert exchange(product, request_head)[0] == status


def test_hostile_request_lines_cost_little(product):
    """Each of them once took a worker 2.7 seconds."""
    hostile = [head("/" + "-eyJ" * 15_000), head("/" + "-eyJ" * 2_000), head(X_Request_ID="-eyJ" * 4_000)]
    before = worker_seconds(product)

    for request_head in hostile * 5:
        exchange(product, request_head)

    assert worker_seconds(product) - before < 1.5


@pytest.mark.parametrize("hostile", ["%0a", "%0d%0a", "%1b[2J", "%c2%85", "%e2%80%a8", "%e2%80%ae", "%00"])
def test_a_path_can_not_forge_a_line_of_the_log(product, hostile):
    marker = f"forged-{hostile.strip('%').replace('%', '-').replace('[', '')}"
    target = f"/{marker}{hostile}{FORGED.replace(' ', '%20')}"

    assert exchange(product, head(target, User_Agent=FORGED))[0] == 404

    wait_until(lambda: marker in product.output, "the request is logged")
    lines = [line for line in product.output.split("\n") if "user logged in" in line]
    assert lines
    assert all(line.isprintable() and json.loads(line)["event"] == "request" for line in lines)


FORM = "application/x-www-form-urlencoded"
UNDERSTOOD_AS_WRONG = {
    "host": (head("/admin/login/", Host="other.example"), b""),
    "hosts": (head("/api/tenants", Host="other.example"), b""),
    "many-fields": (head("/admin/login/", "POST", Content_Type=FORM), b"a=1&" * 1_100),
    "no-token": (head("/admin/login/", "POST", Content_Type=FORM), b"a=1"),
    "form": (
        head("/admin/login/", "POST", Content_Type="multipart/form-data; boundary=a"),
        b"--a\r\n" * 2_000,
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD_AS_WRONG)
def test_what_is_wrong_with_a_request_is_no_error_in_the_log(product, name):
    """Anyone could fill the log with tracebacks, twenty times as fast as with requests."""
    request_head, body = UNDERSTOOD_AS_WRONG[name]
    marker = f"wrong-{name}"
    own = f"X-Request-ID: {marker}\r\nContent-Length: {len(body)}\r\n\r\n"

    assert exchange(product, request_head.removesuffix(b"\r\n") + own.encode() + body)[0] in (400, 403)

    wait_until(lambda: f'"request_id": "{marker}", "method"' in product.output, "the request is logged")
    lines = [json.loads(line) for line in product.output.split("\n") if marker in line]
    assert all(line["level"] in ("info", "warning") and "traceback" not in line for line in lines)


def test_invented_methods_leave_no_metric_series(product):
    for number in range(20):
        exchange(product, head(method=f"INVENTED{number}"))
    answers = [exchange(product, head("/metrics"))[1] for _ in range(6)]
    assert any(b'method="other"' in answer for answer in answers)
    assert not any(b"INVENTED" in answer for answer in answers)


def test_a_large_body_is_read_to_its_end(product):
    """The bound on the head is also the size of the buffer through which a body comes."""
    body = json.dumps({"email": "a@example.com", "password": "x" * 1_000_000, "extra": 1}).encode()
    request = head("/api/auth/login", "POST", Content_Type="application/json", Content_Length=str(len(body)))

    status, answer = exchange(product, request + body)

    assert status == 400
    assert b'"field":"extra"' in answer


#: Request lines and headers; a body of two bytes follows.
MALFORMED = [
    b"GET /api/tenants?x=\xe2\x82\xac HTTP/1.1",
    b"GET /api/tenants?x=\xff\xfe HTTP/1.1",
    b"GET /api/tenants/\xe2\x82\xac HTTP/1.1",
    b"GET /api/tenants/\xff\xfe HTTP/1.1",
    b"GET /api/tenants/%ff%fe HTTP/1.1",
    b"GET http://127.0.0.1/api/tenants HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    *(
        b"GET /api/tenants HTTP/1.1\r\n" + header
        for header in (
            b"X-API-Key: \xe2\x82\xac",
            b"X-API-Key: \xff\xfe",
            b"Authorization: Bearer \xff\xfe",
            b"Origin: \xff\xfe",
            b"Cookie: sessionid=\xff\xfe",
            b"If-Match: \xff\xfe",
        )
    ),
    b"GET /admin/ HTTP/1.1\r\nCookie: sessionid=\xff\xfe",
    *(
        b"POST /api/auth/login HTTP/1.1\r\nContent-Type: application/json" + rest
        for rest in (
            b"; x*=unknown'en'text\r\nContent-Length: 2",
            b"; charset=\xff\r\nContent-Length: 2",
            b"; charset=zip\r\nContent-Length: 2",
            b"\r\nContent-Length: 99999999999999999999",
            b"\r\nContent-Length: -1",
            b"\r\nContent-Length: 2\r\nContent-Length: 3",
        )
    ),
    *(
        b"POST /admin/login/ HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: multipart/form-data" + rest
        for rest in (b"", b"; boundary=\xff", b"; charset=zip; boundary=a", b"; boundary=" + b"a" * 300)
    ),
]


@pytest.mark.parametrize("hostile", MALFORMED)
def test_malformed_requests_are_no_server_errors(product, hostile):
    request = hostile + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n{}"
    assert exchange(product, request)[0] < 500


def test_content_types_leave_nothing_behind_and_cost_little(product):
    """Python keeps the name of every unknown charset, and parses parameters in quadratic time."""
    before = worker_seconds(product)
    for number in range(20):
        content_type = f"application/json; charset=unknown-{number}" + ";a" * 7_000
        request = head("/api/auth/login", "POST", Content_Type=content_type, Content_Length="2") + b"{}"
        assert exchange(product, request)[0] in (400, 429)
    assert worker_seconds(product) - before < 1
