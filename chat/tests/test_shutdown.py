"""SIGTERM: running turns are finished, with or without a reader; new requests are refused meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from chat.models import ChatSession, Message
from chat.tests.clients import Client
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.tenants import issue
from qa.testing.waiting import PATIENCE_SECONDS, wait_until
from tenants.models import Usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WHOLE = " ".join(f"word{number}" for number in range(1, 41))

Start = Callable[..., RunningServer]


@pytest.fixture
def start(mongodb_uri: str, fake_server: FakeProvider, tmp_path: Path) -> Iterator[Start]:
    """Start a server whose provider answers 40 tokens in 4 seconds."""
    servers = []

    def make(**variables: str) -> RunningServer:
        fake_server.reset()
        provider = {
            "LLM_ROUTE": "groq/tokens-40-every-100ms",
            "GROQ_API_KEY": "test-key",
            "GROQ_BASE_URL": fake_server.base_url("groq"),
        }
        folder = tmp_path / str(len(servers))
        servers.append(RunningServer(mongodb_uri, folder, **{**provider, "DRAIN_SECONDS": "30", **variables}))
        return servers[-1].wait_until_ready()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def secret(acme, alice) -> str:
    return issue(acme, alice, scopes=["sessions:read", "messages:send"]).secret


def reply_in(session: ChatSession) -> Message | None:
    return Message.objects.filter(session=session, role="assistant").first()


def test_a_stopping_server_finishes_its_turns_and_refuses_new_ones(start, secret, acme):
    server = start(WORKERS="2")
    client = Client(server.url, secret)
    read, left, plain = (ChatSession.objects.create(tenant=acme) for _ in range(3))
    reading = client.send(read.pk, stream=True)
    answering = client.send(plain.pk)
    with requests.post(
        client.messages(left.pk), json={"message": "Count.", "stream": True}, headers=client.headers,
        stream=True, timeout=60,
    ) as leaving:  # fmt: skip
        next(leaving.iter_lines())
    wait_until(lambda: "delta" in reading.names and reply_in(plain), "all are running")

    server.process.terminate()

    wait_until(lambda: client.get(f"{server.url}/ready").status_code == 503, "not ready")
    ready = client.get(f"{server.url}/ready")
    assert ready.json()["status"] == "draining"
    assert client.get(f"{server.url}/health").status_code == 200
    refused = client.post(client.messages(read.pk), {"message": "And?"})
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Content-Type"] == "application/problem+json"

    assert reading.wait().names[-1] == "done"
    assert answering.wait().body["reply"]["content"] == WHOLE
    assert server.process.wait(PATIENCE_SECONDS) == 0
    for session in (read, left, plain):
        reply = reply_in(session)
        assert (reply.status, reply.content, reply.settled) == ("complete", WHOLE, True)
    assert Usage.objects.of(acme).live == 0


def test_an_idle_server_stops_at_once(start):
    server = start(DRAIN_SECONDS="1000")
    server.process.terminate()
    assert server.process.wait(PATIENCE_SECONDS) == 0


def test_turns_that_exceed_the_drain_time_are_interrupted_and_reported(start, secret, acme):
    server = start(DRAIN_SECONDS="1")
    client = Client(server.url, secret)
    session = ChatSession.objects.create(tenant=acme)
    reading = client.send(session.pk, stream=True)
    wait_until(lambda: "delta" in reading.names, "it is running")

    server.process.terminate()

    last = reading.wait().events[-1]
    assert (last.name, last.data["code"]) == ("error", "reply_interrupted")
    assert server.process.wait(PATIENCE_SECONDS) == 0
    reply = reply_in(session)
    assert (reply.status, reply.settled) == ("interrupted", True)
    assert reply.content == reading.text
    assert WHOLE.startswith(reply.content)
    assert Usage.objects.of(acme).live == 0
