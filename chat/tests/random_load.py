"""Random concurrent load on one tenant: everything that clients do, on two servers at once.

    load = RandomLoad(seed, tenant_id, clients, database, fake)
    load.prepare()
    load.run()                # returns when every client has its response, or has disconnected
    load.responses, …         # what the clients saw

The seed decides what is done and which calls to providers fail; the interleaving is the machine's.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from bson import ObjectId
from pymongo.database import Database

from chat.tests.clients import STUCK_SECONDS, Client, Exchange
from qa.fake_provider.server import FakeProvider
from qa.testing.waiting import wait_until

OPERATIONS = 120
CLIENTS = 8
SESSIONS = 5
RUNS = 6

#: The most tokens that a provider counts for one answer: the catalogue's limit, from which turns reserve.
MOST_OUTPUT_TOKENS = 60
_MOST_INPUT_TOKENS = 8

_FAULTS = {
    # Gemini reports its usage so far in each chunk: an answer that breaks off is billed.
    "gemini": ("cut-after-3", "cut-after-2", "503", "reset", "429-wait-0.1"),
    "groq": (
        "500",
        "429-wait-0.1",
        "cut-after-2",
        "cut-reset-after-3",
        "error-event-after-2",
        "400",
        "stall",
    ),
    "openrouter": ("502", "reset", "error-chunk-after-2", "content-filter", "cut-clean-after-3"),
}
_CALLS_SCRIPTED = 60

RETRYABLE = ("failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class Place:
    """A session, or the OpenAI-compatible endpoint, with models of its own: each call shows its place."""

    route: tuple[str, ...]
    session_id: ObjectId | None = None

    @property
    def models(self) -> set[str]:
        return {target.partition("/")[2] for target in self.route}


def routes(seed: int) -> list[tuple[str, ...]]:
    """Return the routes of a load's places: those of its sessions, then those of its completions."""
    rng = random.Random(seed)

    def target(provider: str, place: int) -> str:
        tokens, ms = rng.randint(3, 12), rng.randint(5, 60)
        return f"{provider}/tokens-{tokens}-every-{ms}ms-{seed}-{place}-{provider}"

    return [
        (target(rng.choice(("gemini", "groq")), place), target("openrouter", place))
        for place in range(SESSIONS + RUNS)
    ]


def catalogue(seeds: Sequence[int]) -> dict[str, Any]:
    """Return an operator's catalogue with every model of these loads."""
    rng = random.Random(seeds[0])
    models = []
    for target in (target for seed in seeds for route in routes(seed) for target in route):
        provider, _, model = target.partition("/")
        prices = [{"input": str(rng.randint(1, 900)), "output": str(rng.randint(1, 900))}]
        models.append(
            {
                "provider": provider,
                "id": model,
                "max_output": MOST_OUTPUT_TOKENS,
                "assistant_prefix": rng.random() < 0.5,
                "prices": prices,
            }
        )
    return {"models": models}


@dataclass
class RandomLoad:
    seed: int
    tenant_id: ObjectId
    clients: list[Client]
    database: Database
    fake: FakeProvider
    places: list[Place] = field(default_factory=list)
    #: The Idempotency-Key of each question, and those questions that a response has acknowledged.
    questions: dict[str, str | None] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    #: Responses by status and code, operations by kind, and exchanges that ended in no valid way.
    responses: Counter[tuple[int | None, str]] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Create the sessions and script the failures of the providers."""
        rng = random.Random(self.seed)
        for number, route in enumerate(routes(self.seed)):
            session_id = self._create_session(route) if number < SESSIONS else None
            self.places.append(Place(route, session_id))
            for target in route:
                provider, _, model = target.partition("/")
                faults = [
                    rng.choice(_FAULTS[provider]) if rng.random() < 0.4 else None
                    for _ in range(_CALLS_SCRIPTED)
                ]
                used = [rng.randint(1, _MOST_INPUT_TOKENS), rng.randint(1, MOST_OUTPUT_TOKENS), 0, 0]
                self.fake.script(provider=provider, model=model, faults=faults, answer={"usage": used})

    def _create_session(self, route: Sequence[str]) -> ObjectId:
        client = self.clients[0]
        response = client.post(f"{client.url}/api/chat/sessions", {"route": list(route)})
        assert response.status_code == 201, response.text
        return ObjectId(response.json()["id"])

    def run(self) -> None:
        rng = random.Random(self.seed)
        kinds = rng.choices(list(_KINDS), [weight for _, weight in _KINDS.values()], k=OPERATIONS)
        operations = [(number, kind, random.Random(rng.random())) for number, kind in enumerate(kinds)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda operation: self._do(*operation), operations))

    def _do(self, number: int, kind: str, rng: random.Random) -> None:
        operation, _ = _KINDS[kind]
        operation(self, f"Question {number}?", rng)
        with self._lock:
            self.done[kind] += 1

    # -- what clients do ----------------------------------------------------------------

    def send(self, text: str, rng: random.Random) -> None:
        self._record(text, self._begin(text, rng, stream=rng.random() < 0.5).wait())

    def send_duplicates(self, text: str, rng: random.Random) -> None:
        """Send the same message with the same key, several times at once and to both servers."""
        place, key = rng.choice(self.places[:SESSIONS]), text.replace(" ", "-")
        self.questions[text] = key
        body = {"message": text, "stream": rng.random() < 0.5, "concurrent": True}
        sent = [
            rng.choice(self.clients).send(place.session_id, key=key, **body) for _ in range(rng.randint(2, 4))
        ]
        for exchange in sent:
            self._record(text, exchange.wait())

    def send_and_disconnect(self, text: str, rng: random.Random) -> None:
        """Disconnect after any number of bytes of the response."""
        place, client = rng.choice(self.places[:SESSIONS]), rng.choice(self.clients)
        self.questions[text] = None
        body = {"message": text, "stream": rng.random() < 0.8, "concurrent": True}
        _post_and_disconnect(client.messages(place.session_id), body, client.headers, rng.randrange(3000))

    def send_and_cancel(self, text: str, rng: random.Random) -> None:
        place = rng.choice(self.places[:SESSIONS])
        exchange = self._begin(text, rng, stream=True, place=place)
        wait_until(lambda: exchange.is_over or "start" in exchange.names, "it began or ended")
        if "start" in exchange.names:
            client = rng.choice(self.clients)
            reply_id = exchange.events[0].data["reply_id"]
            self._count(client.post(f"{client.messages(place.session_id)}/{reply_id}/cancel", {}))
        self._record(text, exchange.wait())

    def retry(self, text: str, rng: random.Random) -> None:
        """Retry a reply without a complete answer, by two clients at once; one may disconnect."""
        replies = self.database.chat_message
        ids = [place.session_id for place in self.places if place.session_id]
        found = list(
            replies.find({"session_id": {"$in": ids}, "status": {"$in": RETRYABLE}}, {"session_id": 1})
        )
        if not found:
            self.send(text, rng)
            return
        reply = rng.choice(found)
        client, other = rng.sample(self.clients, 2)
        url = f"{client.messages(reply['session_id'])}/{reply['_id']}/retry"
        exchange = Exchange("POST", url, client.headers, {"stream": rng.random() < 0.5})
        if rng.random() < 0.5:
            url = f"{other.messages(reply['session_id'])}/{reply['_id']}/retry"
            _post_and_disconnect(url, {"stream": True}, other.headers, rng.randrange(2000))
        self._record(None, exchange.wait())

    def complete(self, text: str, rng: random.Random) -> None:
        """Call the OpenAI-compatible endpoint, of which only the usage is stored."""
        place, client = rng.choice(self.places[SESSIONS:]), rng.choice(self.clients)
        url, headers = f"{client.url}/v1/chat/completions", _bearer(client)
        body = {
            "model": place.route[0],
            "fallbacks": list(place.route[1:]),
            "messages": [{"role": "user", "content": text}],
            "stream": rng.random() < 0.6,
        }
        if rng.random() < 0.4:
            _post_and_disconnect(url, body, headers, rng.randrange(2000))
        else:
            self._count(requests.post(url, json=body, headers=headers, timeout=STUCK_SECONDS))

    def _begin(self, text: str, rng: random.Random, *, stream: bool, place: Place | None = None) -> Exchange:
        place = place or rng.choice(self.places[:SESSIONS])
        self.questions[text] = None
        concurrent = rng.random() < 0.8
        client = rng.choice(self.clients)
        return client.send(place.session_id, message=text, stream=stream, concurrent=concurrent)

    # -- what clients see ----------------------------------------------------------------

    def _record(self, text: str | None, exchange: Exchange) -> None:
        with self._lock:
            body = exchange.body or {}
            self.responses[exchange.status, body.get("code", "")] += 1
            acknowledged = exchange.status in (200, 201) or "message_id" in body
            if text is not None and acknowledged:
                self.acknowledged.add(text)
            ended = exchange.names[-1:] in (["done"], ["error"]) if exchange.events else bool(body)
            if exchange.error or not ended:
                self.broken.append(f"{text}: {exchange.status} {exchange.names} {exchange.error}")

    def _count(self, response: requests.Response) -> None:
        with self._lock:
            problem = response.headers.get("Content-Type") == "application/problem+json"
            self.responses[response.status_code, response.json()["code"] if problem else ""] += 1


#: Kind of operation -> its method and weight.
_KINDS: dict[str, tuple[Callable[[RandomLoad, str, random.Random], None], int]] = {
    "send": (RandomLoad.send, 4),
    "send duplicates": (RandomLoad.send_duplicates, 3),
    "send and disconnect": (RandomLoad.send_and_disconnect, 3),
    "send and cancel": (RandomLoad.send_and_cancel, 3),
    "retry": (RandomLoad.retry, 5),
    "complete": (RandomLoad.complete, 4),
}


def _bearer(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.headers['X-API-Key']}"}


def _post_and_disconnect(url: str, body: dict[str, Any], headers: dict[str, str], after_bytes: int) -> None:
    """Post, read `after_bytes` of the response if it is that long, and disconnect."""
    request = requests.Request("POST", url, headers | {"Connection": "close"}, json=body).prepare()
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=STUCK_SECONDS) as connection:
        start = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}\r\n".encode()
        connection.sendall(start + request.body)
        while after_bytes > 0 and (data := connection.recv(after_bytes)):
            after_bytes -= len(data)
