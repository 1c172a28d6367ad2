"""A storm over one tenant: everything clients do, at random, at once, on two servers.

    storm = Storm(seed, tenant, servers, database, fake)
    storm.blow()              # returns when every client has its answer, or has gone away
    storm.answers, …          # what the clients saw

The seed decides what is done and which calls of providers fail; how it meets is up to the machine.
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

#: What a provider counts at most for one answer; a plan that bounds it lets turns reserve their upper bound.
MOST_OUTPUT_TOKENS = 60
_MOST_INPUT_TOKENS = 8

_FAULTS = {
    # In each chunk Gemini tells what it charges so far: an answer that breaks off is billed.
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
    """Where questions are asked: models of its own, so that every call that is made shows whose it is."""

    route: tuple[str, ...]
    session_id: ObjectId | None = None

    @property
    def models(self) -> set[str]:
        return {target.partition("/")[2] for target in self.route}


def routes(seed: int) -> list[tuple[str, ...]]:
    """Return the routes of a storm's places: those of its sessions, then those of its runs."""
    chance = random.Random(seed)

    def target(provider: str, place: int) -> str:
        tokens, ms = chance.randint(3, 12), chance.randint(5, 60)
        return f"{provider}/tokens-{tokens}-every-{ms}ms-{seed}-{place}-{provider}"

    return [
        (target(chance.choice(("gemini", "groq")), place), target("openrouter", place))
        for place in range(SESSIONS + RUNS)
    ]


def catalogue(seeds: Sequence[int]) -> dict[str, Any]:
    """Return what the operator's catalogue says of every model of these storms."""
    chance = random.Random(seeds[0])
    models = []
    for target in (target for seed in seeds for route in routes(seed) for target in route):
        provider, _, model = target.partition("/")
        prices = [{"input": str(chance.randint(1, 900)), "output": str(chance.randint(1, 900))}]
        models.append(
            {
                "provider": provider,
                "id": model,
                "max_output": MOST_OUTPUT_TOKENS,
                "assistant_prefix": chance.random() < 0.5,
                "prices": prices,
            }
        )
    return {"models": models}


@dataclass
class Storm:
    seed: int
    tenant_id: ObjectId
    clients: list[Client]
    database: Database
    fake: FakeProvider
    places: list[Place] = field(default_factory=list)
    #: Of each question its Idempotency-Key; and those of which a client was told that they are stored.
    questions: dict[str, str | None] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter = field(default_factory=Counter)
    done: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Open the sessions and tell the providers when to fail."""
        chance = random.Random(self.seed)
        for number, route in enumerate(routes(self.seed)):
            session_id = self._open_session(route) if number < SESSIONS else None
            self.places.append(Place(route, session_id))
            for target in route:
                provider, _, model = target.partition("/")
                faults = [
                    chance.choice(_FAULTS[provider]) if chance.random() < 0.4 else None
                    for _ in range(_CALLS_SCRIPTED)
                ]
                used = [chance.randint(1, _MOST_INPUT_TOKENS), chance.randint(1, MOST_OUTPUT_TOKENS), 0, 0]
                self.fake.script(provider=provider, model=model, faults=faults, answer={"usage": used})

    def _open_session(self, route: Sequence[str]) -> ObjectId:
        client = self.clients[0]
        answer = client.post(f"{client.url}/api/chat/sessions", {"route": list(route)})
        assert answer.status_code == 201, answer.text
        return ObjectId(answer.json()["id"])

    def blow(self) -> None:
        chance = random.Random(self.seed)
        kinds = chance.choices(list(_KINDS), [weight for _, weight in _KINDS.values()], k=OPERATIONS)
        orders = [(number, kind, random.Random(chance.random())) for number, kind in enumerate(kinds)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda order: self._do(*order), orders))

    def _do(self, number: int, kind: str, chance: random.Random) -> None:
        operation, _ = _KINDS[kind]
        operation(self, f"Question {number}?", chance)
        with self._lock:
            self.done[kind] += 1

    # -- what clients do ----------------------------------------------------------------

    def send(self, text: str, chance: random.Random) -> None:
        self._hear(text, self._begin(text, chance, stream=chance.random() < 0.5).wait())

    def send_equal(self, text: str, chance: random.Random) -> None:
        """The same message under the same key, several times at once and on both servers."""
        place, key = chance.choice(self.places[:SESSIONS]), text.replace(" ", "-")
        self.questions[text] = key
        body = {"message": text, "stream": chance.random() < 0.5, "concurrent": True}
        sent = [
            chance.choice(self.clients).send(place.session_id, key=key, **body)
            for _ in range(chance.randint(2, 4))
        ]
        for exchange in sent:
            self._hear(text, exchange.wait())

    def send_and_leave(self, text: str, chance: random.Random) -> None:
        """Hang up after any number of bytes of the answer."""
        place, client = chance.choice(self.places[:SESSIONS]), chance.choice(self.clients)
        self.questions[text] = None
        body = {"message": text, "stream": chance.random() < 0.8, "concurrent": True}
        _post_and_leave(client.messages(place.session_id), body, client.headers, chance.randrange(3000))

    def send_and_cancel(self, text: str, chance: random.Random) -> None:
        place = chance.choice(self.places[:SESSIONS])
        exchange = self._begin(text, chance, stream=True, place=place)
        wait_until(lambda: exchange.over or "start" in exchange.names, "it began or ended")
        if "start" in exchange.names:
            client = chance.choice(self.clients)
            reply_id = exchange.happened[0].data["reply_id"]
            self._count(client.post(f"{client.messages(place.session_id)}/{reply_id}/cancel", {}))
        self._hear(text, exchange.wait())

    def retry(self, text: str, chance: random.Random) -> None:
        """Have two clients at once retry a reply that has no whole answer; one may hang up."""
        replies = self.database.chat_message
        ids = [place.session_id for place in self.places if place.session_id]
        found = list(
            replies.find({"session_id": {"$in": ids}, "status": {"$in": RETRYABLE}}, {"session_id": 1})
        )
        if not found:
            self.send(text, chance)
            return
        reply = chance.choice(found)
        client, other = chance.sample(self.clients, 2)
        url = f"{client.messages(reply['session_id'])}/{reply['_id']}/retry"
        exchange = Exchange("POST", url, client.headers, {"stream": chance.random() < 0.5})
        if chance.random() < 0.5:
            url = f"{other.messages(reply['session_id'])}/{reply['_id']}/retry"
            _post_and_leave(url, {"stream": True}, other.headers, chance.randrange(2000))
        self._hear(None, exchange.wait())

    def run(self, text: str, chance: random.Random) -> None:
        """Ask the OpenAI-compatible endpoint, of which nothing but the bill is kept."""
        place, client = chance.choice(self.places[SESSIONS:]), chance.choice(self.clients)
        url, headers = f"{client.url}/v1/chat/completions", _bearer(client)
        body = {
            "model": place.route[0],
            "fallbacks": list(place.route[1:]),
            "messages": [{"role": "user", "content": text}],
            "stream": chance.random() < 0.6,
        }
        if chance.random() < 0.4:
            _post_and_leave(url, body, headers, chance.randrange(2000))
        else:
            self._count(requests.post(url, json=body, headers=headers, timeout=STUCK_SECONDS))

    def _begin(
        self, text: str, chance: random.Random, *, stream: bool, place: Place | None = None
    ) -> Exchange:
        place = place or chance.choice(self.places[:SESSIONS])
        self.questions[text] = None
        concurrent = chance.random() < 0.8
        client = chance.choice(self.clients)
        return client.send(place.session_id, message=text, stream=stream, concurrent=concurrent)

    # -- what clients see ----------------------------------------------------------------

    def _hear(self, text: str | None, exchange: Exchange) -> None:
        with self._lock:
            body = exchange.body or {}
            self.answers[exchange.status, body.get("code", "")] += 1
            told = exchange.status in (200, 201) or "message_id" in body
            if text is not None and told:
                self.acknowledged.add(text)
            ended = exchange.names[-1:] in (["done"], ["error"]) if exchange.happened else bool(body)
            if exchange.broke or not ended:
                self.broken.append(f"{text}: {exchange.status} {exchange.names} {exchange.broke}")

    def _count(self, answer: requests.Response) -> None:
        with self._lock:
            problem = answer.headers.get("Content-Type") == "application/problem+json"
            self.answers[answer.status_code, answer.json()["code"] if problem else ""] += 1


#: What is done -> by what, and how often.
_KINDS: dict[str, tuple[Callable[[Storm, str, random.Random], None], int]] = {
    "send": (Storm.send, 4),
    "send equal ones": (Storm.send_equal, 3),
    "send and leave": (Storm.send_and_leave, 3),
    "send and cancel": (Storm.send_and_cancel, 3),
    "retry": (Storm.retry, 5),
    "run": (Storm.run, 4),
}


def _bearer(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.headers['X-API-Key']}"}


def _post_and_leave(url: str, body: dict[str, Any], headers: dict[str, str], after_bytes: int) -> None:
    """Post, read that much of the answer if it is that long, and hang up."""
    request = requests.Request("POST", url, headers | {"Connection": "close"}, json=body).prepare()
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((parts.hostname, parts.port), timeout=STUCK_SECONDS) as connection:
        start = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}\r\n".encode()
        connection.sendall(start + request.body)
        while after_bytes > 0 and (data := connection.recv(after_bytes)):
            after_bytes -= len(data)
