"""Bodies of any framing are read, up to the limit of their endpoint."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from qa.testing.server import RunningServer
from qa.testing.tenants import issue

MEBIBYTE = 2**20
HELLO = [{"role": "user", "content": "Hello"}]


def photo(size: int) -> dict:
    url = "data:image/jpeg;base64," + "A" * (size // 3 * 4)
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def in_chunks(body: dict | bytes, size: int = 16_384) -> Iterator[bytes]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.fixture
def key(acme, alice) -> str:
    return issue(acme, alice, scopes=["messages:send", "sessions:read", "sessions:write"]).secret


@pytest.fixture
def post(openai_server, fake, key):
    def post(path: str, body, **headers: str) -> requests.Response:
        headers = {
            "X-API-Key": key,
            "Content-Type": "application/json",
        } | headers
        return requests.post(openai_server.url + path, data=body, headers=headers, timeout=60)

    return post


def test_a_body_in_chunks_is_read_by_every_endpoint(post, fake):
    session = post("/api/chat/sessions", in_chunks({"title": "In chunks", "metadata": {"a": 1}}, 7)).json()
    assert (session["title"], session["metadata"]) == ("In chunks", {"a": 1})
    reply = post(f"/api/chat/sessions/{session['id']}/messages", in_chunks({"message": "In chunks"}, 1))
    assert reply.json()["reply"]["content"].startswith("You said: In chunks")
    answer = post("/v1/chat/completions", in_chunks({"model": "groq/some-model", "messages": HELLO}))
    assert answer.json()["choices"][0]["message"]["content"].startswith("You said: Hello")
    assert post("/api/auth/login", in_chunks({"email": "a@b.co"})).json()["errors"][0]["field"] == "password"


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_each_kind_of_endpoint_has_a_limit_of_its_own(post, acme, framing):
    acme.plan.update(max_input_chars=None)
    prompt = {"role": "user", "content": "word " * 270_000}

    def sent(path: str, body: dict) -> int:
        return post(path, json.dumps(body) if framing == "length" else in_chunks(body, 65_536)).status_code

    assert sent("/v1/chat/completions", {"model": "groq/m", "messages": [photo(3 * MEBIBYTE)]}) == 200
    assert sent("/v1/chat/completions", {"model": "groq/m", "messages": [prompt]}) == 200
    assert sent("/v1/chat/completions", {"model": "groq/m", "messages": [photo(20 * MEBIBYTE)]}) == 413
    assert sent("/api/chat/sessions", {"title": "x" * MEBIBYTE}) == 413


def test_a_large_image_reaches_the_provider_whole(post, fake):
    message = photo(3 * MEBIBYTE)
    post("/v1/chat/completions", json.dumps({"model": "groq/m", "messages": [message]}))

    assert fake.log()[-1].body["messages"] == [message]


def test_a_body_that_is_too_large_is_an_error_of_its_api(post):
    body = json.dumps({"model": "groq/m", "messages": [photo(20 * MEBIBYTE)]})

    error = post("/v1/chat/completions", body).json()["error"]
    assert error["code"] == "payload_too_large"
    assert str(20 * MEBIBYTE) in error["message"]


def test_the_sizes_are_settings_and_large_requests_have_bounded_memory(
    database_uri, tmp_path, fake, acme, key
):
    variables = {
        "GROQ_BASE_URL": fake.base_url("groq"),
        "GROQ_API_KEY": "test-key",
        "MAX_BODY_BYTES": "100000",
        "COMPLETIONS_MAX_BODY_BYTES": str(3 * MEBIBYTE),
        "BODY_MEMORY_BYTES": str(16 * MEBIBYTE),
    }
    fake.script(model="slow", fault="stall-after-1")
    with RunningServer(database_uri, tmp_path, **variables) as server:

        def send(model: str, size: int) -> requests.Response:
            body = {"model": f"groq/{model}", "messages": [photo(size)], "stream": True}
            url = f"{server.url}/v1/chat/completions"
            return requests.post(url, json=body, headers={"X-API-Key": key}, timeout=60, stream=True)

        assert send("m", 3 * MEBIBYTE).status_code == 413
        headers = {"X-API-Key": key}
        session = requests.post(
            f"{server.url}/api/chat/sessions", json={"title": "x" * 100_000}, headers=headers, timeout=60
        )
        assert session.status_code == 413
        first = send("slow", 2 * MEBIBYTE)
        with ThreadPoolExecutor(1) as pool:
            refused = pool.submit(send, "m", 2 * MEBIBYTE).result()
        assert (refused.status_code, refused.json()["code"]) == (503, "server_busy")
        assert refused.headers["Retry-After"]
        first.close()


@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"POST /api/chat/sessions HTTP/2.0\r\nHost: 127.0.0.1\r\nX-API-Key: %s\r\n\r\n{}",
    ],
    ids=["prior knowledge", "version"],
)
def test_http_2_without_a_proxy_is_never_taken_for_a_request_without_a_body(
    openai_server, key, acme, opening
):
    parts = urlsplit(openai_server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(opening.replace(b"%s", key.encode()))
        answer = connection.recv(65_536)

    assert not answer or answer.split()[1] in (b"400", b"505")
    assert not acme.sessions.exists()


def test_an_offer_of_http_2_is_answered_over_http_1(post, fake):
    upgrade = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
    }
    answer = post("/v1/chat/completions", json.dumps({"model": "groq/m", "messages": HELLO}), **upgrade)

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].startswith("You said: Hello")


@pytest.mark.parametrize(("size", "first"), [(2 * MEBIBYTE, b"100"), (21 * MEBIBYTE, b"413")])
def test_a_client_that_asks_first_is_answered_first(openai_server, key, size, first):
    """curl asks before it sends more than a mebibyte."""
    parts = urlsplit(openai_server.url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65_536).split()[1] == first
