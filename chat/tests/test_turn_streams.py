"""Streamed turns over real sockets and processes: first token, disconnects, resuming, duplicates, cancel."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from chat.models import ChatSession, Message
from chat.tests.clients import Client, events, text_of
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.tenants import issue, limited
from qa.testing.waiting import wait_until
from tenants.models import LedgerEntry, Tenant, Usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Characters of one to four bytes, some of them of several code points.
TEXT = "Grüße an die Welt: 🌍 und 你好, 👩‍👩‍👧 e\u0301 und नमस्ते, bis bald!"


@pytest.fixture(scope="module")
def servers(database_uri, fake_server: FakeProvider, tmp_path_factory) -> Iterator[list[RunningServer]]:
    """Two servers of two workers; Groq, then OpenRouter."""
    variables = {"LLM_ROUTE": "groq,openrouter", "LLM_BREAKER_FAILURES": "100000", "WORKERS": "2"}
    variables["LLM_FIRST_TOKEN_SECONDS"] = "6"
    for name in ("groq", "openrouter"):
        variables[f"{name.upper()}_BASE_URL"] = fake_server.base_url(name)
        variables[f"{name.upper()}_MODEL"] = f"{name}-model"
        variables[f"{name.upper()}_API_KEY"] = "test-key"
    first, second = (
        RunningServer(database_uri, tmp_path_factory.mktemp("server"), **variables) for _ in range(2)
    )
    with first, second:
        yield [first, second]


@dataclass
class Site:
    """Acme's site, a client of both servers."""

    acme: Tenant
    here: Client
    there: Client

    def session(self) -> ChatSession:
        return ChatSession.objects.create(tenant=self.acme)

    def settle(self) -> None:
        wait_until(lambda: Usage.objects.of(self.acme).live == 0, "every turn is over")


@pytest.fixture
def site(servers, fake_server, acme, alice) -> Iterator[Site]:
    fake_server.reset()
    secret = issue(limited(acme), alice, scopes=["sessions:read", "messages:send"]).secret
    site = Site(acme, *(Client(server.url, secret) for server in servers))
    yield site
    site.settle()


@pytest.fixture
def fake(fake_server: FakeProvider) -> FakeProvider:
    return fake_server


def reply_in(session: ChatSession) -> Message | None:
    return Message.objects.filter(session=session, role="assistant").first()


def is_complete(session: ChatSession) -> bool:
    reply = reply_in(session)
    return reply is not None and reply.status == "complete"


# -- the first token ------------------------------------------------------------------------------------


def test_the_first_token_arrives_before_the_rest(site, fake):
    fake.script(answer={"text": "One two", "seconds_between": 1})
    session = site.session()

    sent = site.here.send(session.pk, stream=True)

    wait_until(lambda: sent.events[1:], "the first token")
    assert sent.events[1].data == {"text": "One "}
    assert not fake.log()[-1].finished
    assert sent.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert sent.headers["Cache-Control"] == "no-store, no-transform"
    assert sent.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in sent.headers
    assert sent.wait().text == "One two"


def test_a_client_gets_pings_while_the_route_fails_over(site, fake):
    fake.script(provider="groq", fault="silent")
    sent = site.here.send(site.session().pk, stream=True)
    names = sent.wait().names
    assert (names[:2], names[-1]) == (["start", "ping"], "done")


# -- disconnects -----------------------------------------------------------


def cut_after(client: Client, session: ChatSession, size: int) -> bytes:
    """Send a message and close the socket after `size` bytes of the response; return them."""
    url = urlsplit(client.messages(session.pk))
    body = b'{"message": "Count.", "stream": true}'
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nX-API-Key: {client.headers['X-API-Key']}\r\n"
    head += f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.hostname, url.port), timeout=60) as sock:
        sock.sendall(head.encode() + body)
        received = b""
        while len(received) < size and (data := sock.recv(size - len(received))):
            received += data
    return received


def test_an_answer_is_completed_wherever_its_client_disconnects(site, fake):
    fake.script(answer={"text": TEXT, "seconds_between": 0.02})
    size = len(cut_after(site.here, site.session(), 1_000_000_000))
    cuts = {site.session(): at for at in range(1, size, size // 60)}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: cut_after(site.here, *item), cuts.items()))

    wait_until(lambda: all(is_complete(session) for session in cuts), "all answers are complete")
    assert {reply_in(session).content for session in cuts} == {TEXT}
    site.settle()
    assert LedgerEntry.objects.filter(tenant=site.acme, outcome="ok").count() == len(cuts) + 1


@pytest.mark.parametrize("fault", [None, "cut-after-4"], ids=["complete", "restarted"])
def test_a_stream_can_be_resumed_on_another_server_after_any_event(site, fake, fault):
    """Also while the answer is running, and after another provider has restarted it."""
    answer = {"text": TEXT, "seconds_between": 0.05}
    other = {"text": "Anders: " + TEXT, "seconds_between": 0.05}
    fake.script(provider="groq", fault=fault, answer=answer)
    fake.script(provider="openrouter", answer=other)
    session = site.session()
    sent = site.here.send(session.pk, stream=True)
    resumed = []
    taken = 0
    while not sent.is_over or taken < len(sent.events) - 1:
        for event in sent.events[taken:]:
            if event.name == "done":
                break
            taken += 1
            resumed.append(
                (sent.events[:taken], site.there.follow(session.pk, reply_in(session).pk, event.id))
            )
        time.sleep(0.01)

    assert fault is None or "restart" in sent.names
    content = reply_in(session).content
    assert content == (TEXT if fault is None else other["text"])
    for before, rest in resumed:
        assert text_of(before + rest.wait().events) == content
        assert rest.names[-1] == "done"
    assert len(resumed) > len(TEXT.split())


def test_without_a_last_event_a_finished_reply_comes_from_its_beginning(site, fake):
    fake.script(answer={"text": TEXT})
    session = site.session()
    site.here.send(session.pk).wait()
    again = site.there.follow(session.pk, reply_in(session).pk).wait()
    assert [name for name in again.names if name != "ping"] == ["start", "delta", "usage", "done"]
    assert again.text == TEXT


# -- duplicates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_fifty_duplicates_to_four_workers_are_one_turn(site, fake, stream):
    fake.script(answer={"text": TEXT, "seconds_between": 0.02})
    session = site.session()

    clients = [site.here, site.there] * 25
    sent = [client.send(session.pk, key="fifty", stream=stream) for client in clients]

    assert {(one.wait().error, one.status) for one in sent} == {(None, 200 if stream else 201)}
    if stream:
        assert {one.text for one in sent} == {TEXT}
        assert {one.events[-1].data["id"] for one in sent} == {str(reply_in(session).pk)}
    else:
        assert {json.dumps(one.body) for one in sent} == {json.dumps(sent[0].body)}
        assert sent[0].body["reply"]["content"] == TEXT
    assert sum("Idempotent-Replayed" in one.headers for one in sent) == 49
    assert len(fake.log()) == 1
    assert Message.objects.filter(session=session).count() == 2
    site.settle()
    assert LedgerEntry.objects.filter(tenant=site.acme).count() == 1


# -- cancel ---------------------------------------------------------------------------------------


def test_cancel_at_another_server_stops_the_provider_within_a_second(site, fake):
    fake.script(answer={"text": " ".join(["word"] * 600), "seconds_between": 0.05})
    session = site.session()
    sent = site.here.send(session.pk, stream=True)
    wait_until(lambda: "delta" in sent.names, "it is running")

    requested_at = time.time()
    response = site.there.post(f"{site.there.messages(session.pk)}/{reply_in(session).pk}/cancel", {})

    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    entry = fake.wait_for(lambda log: log[-1].disconnected_after is not None and log[-1])
    assert entry.at + entry.disconnected_after - requested_at < 1
    assert sent.wait().names[-1] == "done"
    assert sent.text == reply_in(session).content


# -- slow readers ------------------------------------------------------------------------------------------


def test_a_stalled_client_neither_delays_its_turn_nor_fills_the_memory(site, servers, fake):
    """The answer is larger than all buffers between; the turn ends, and the client can still read it."""
    text = " ".join(["x" * 20_000] * 400)
    fake.script(answer={"text": text})
    session = site.session()
    before = sum(worker.memory_info().rss for worker in servers[0].workers())

    with requests.post(
        site.here.messages(session.pk),
        json={"message": "Count.", "stream": True},
        headers=site.here.headers,
        stream=True,
        timeout=60,
    ) as unread:
        wait_until(lambda: is_complete(session), "the turn is over")
        grown = sum(worker.memory_info().rss for worker in servers[0].workers()) - before
        assert grown < 20 * len(text)
        assert psutil.pid_exists(servers[0].process.pid)
        assert text_of(list(events(unread))) == text


def test_every_event_has_an_id_that_counts_code_points(site, fake):
    fake.script(answer={"text": TEXT, "seconds_between": 0.02})
    sent = site.here.send(site.session().pk, stream=True).wait()
    length = 0
    for event in sent.events:
        length += len(event.data["text"]) if event.name == "delta" else 0
        assert event.id == f"1:{length}" + (":end" if event.name == "done" else "")
