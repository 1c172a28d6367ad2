"""Workers are killed with -9 at every step of a turn: nothing is lost, duplicated or stuck.

A process can die between any two steps that others can see. A proxy before the database holds a chosen
command, or its response, until the worker is dead. A second server, which shares only the database, then
does what clients and operators do next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from chat.models import ChatSession, Message
from chat.tests.clients import Client, Exchange
from chat.tests.mongo_proxy import Command, MongoProxy, Side
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.tenants import issue, limited
from qa.testing.waiting import wait_until
from tenants.models import LedgerEntry, Usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEASE_SECONDS = 2

#: An answer that takes a second, and one that comes at once.
SLOW, FAST = "groq/tokens-25-every-40ms", "groq/tokens-25"
WHOLE = " ".join(f"word{number}" for number in range(1, 26))


# -- every step of a turn that another process can see ----------------------------------


def _final(body: dict[str, Any]) -> bool:
    return "content" in body["update"].get("$set", {})


def _checkpoint(body: dict[str, Any]) -> bool:
    return "content" in body["updates"][0]["u"].get("$set", {})


def _settled(body: dict[str, Any]) -> bool:
    return "settled" in body["updates"][0]["u"].get("$set", {})


#: Steps of the request itself, in order. Each turn can be held at its own step.
REQUEST_STEPS = {
    "authorise": Command("aggregate", "tenants_apikey"),
    "read": Command("aggregate", "chat_chatsession"),
    "reserve": Command("findAndModify", "tenants_usage"),
    "accept": Command("insert", "chat_message"),
    "finish": Command("findAndModify", "chat_message", _final),
}

#: Steps that a process takes for all of its turns at once.
BACKGROUND_STEPS = {
    "checkpoint": Command("update", "chat_message", _checkpoint),
    "ledger": Command("insert", "tenants_ledgerentry"),
    "settle": Command("update", "tenants_usage"),
    "count": Command("update", "chat_chatsession"),
    "settled": Command("update", "chat_message", _settled),
}


# -- the servers ------------------------------------------------------------------------------


class Victim(RunningServer):
    """A server of one worker, whose connections to the database go through a proxy of its own."""

    def __init__(self, mongodb_uri: str, folder: Path, **variables: str) -> None:
        self.proxy = MongoProxy(mongodb_uri)
        super().__init__(self.proxy.uri, folder, **variables)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.proxy.close()

    def kill_worker(self) -> None:
        """Kill the worker with -9; the server starts another."""
        [worker] = self.workers()
        worker.kill()
        worker.wait()
        self.proxy.release()


@dataclass
class Stage:
    """Two servers whose workers are killed, and one that survives. `points` counts the turns killed."""

    victims: list[Victim]
    witness: RunningServer
    points: int = 0


@pytest.fixture(scope="module")
def stage(database_uri: str, fake_server: FakeProvider, tmp_path_factory) -> Iterator[Stage]:
    variables = {
        "LLM_ROUTE": "groq",
        "GROQ_API_KEY": "test-key",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "GROQ_MODEL": "tokens-25",  # what a retry without options uses
        "LLM_TOTAL_SECONDS": "5",  # how long a reservation is kept for a turn that left no reply
        "TURN_LEASE_SECONDS": str(LEASE_SECONDS),
        "THREADS": "128",  # one credential may hold a quarter: twenty requests are held at once
    }
    victims = [Victim(database_uri, tmp_path_factory.mktemp("victim"), **variables) for _ in range(2)]
    witness = RunningServer(database_uri, tmp_path_factory.mktemp("witness"), **variables)
    with victims[0], victims[1], witness:
        stage = Stage(victims, witness)
        yield stage
    print(f"\n{stage.points} turns whose worker was killed: 0 lost, 0 duplicated, 0 stuck")


class Attempts:
    """Turns on the victims; each is a kill point as soon as its worker dies."""

    def __init__(self, stage: Stage, tenant, secret: str) -> None:
        self.stage = stage
        self.tenant = tenant
        self.secret = secret
        self.survivor = Client(stage.witness.url, secret)
        self.attempts: list[Attempt] = []

    def begin(self, victim: Victim, point: str, *, stream: bool = True, model: str = SLOW) -> Attempt:
        session = ChatSession.objects.create(tenant=self.tenant)
        client = Client(victim.url, self.secret)
        sent = client.send(session.pk, key=f"once-{session.pk}", stream=stream, model=model)
        attempt = Attempt(point, session.pk, stream, model, sent)
        self.attempts.append(attempt)
        return attempt

    def begin_and_follow(self, victim: Victim, point: str, **options: Any) -> Attempt:
        """`begin`, and read the reply on the other server at the same time."""
        attempt = self.begin(victim, point, **options)
        wait_until(lambda: attempt.reply() is not None, f"{point}: accepted")
        attempt.reader = self.survivor.follow(attempt.session_id, attempt.reply()["_id"])
        return attempt

    def verify(self) -> None:
        """Check what each turn left behind, and that repeating it gives a complete answer."""
        for attempt in self.attempts:
            attempt.sent.wait()
        wait_until(lambda: not any(a.is_streaming() for a in self.attempts), "every reply has ended")
        for attempt in self.attempts:
            attempt.verify_what_is_left()
            attempt.verify_reader()
        repeated = [attempt.repeat(self.survivor) for attempt in self.attempts]
        for attempt, exchange in zip(self.attempts, repeated, strict=True):
            attempt.verify_complete(exchange.wait())
        self._verify_usage()
        self.stage.points += len(self.attempts)

    def _verify_usage(self) -> None:
        wait_until(lambda: Usage.objects.of(self.tenant).live == 0, "every reservation is released")
        call_command("verify_ledger")
        billed = LedgerEntry.objects.filter(tenant=self.tenant, messages=1).count()
        assert billed == len(self.attempts)


@dataclass
class Attempt:
    point: str
    session_id: Any
    stream: bool
    model: str
    sent: Exchange
    reader: Exchange | None = None

    def documents(self) -> list[dict]:
        return list(Message.collection().find({"session_id": self.session_id}, sort=[("seq", 1)]))

    def reply(self) -> dict | None:
        return Message.collection().find_one({"session_id": self.session_id, "role": "assistant"})

    def is_streaming(self) -> bool:
        return any(document["status"] == "streaming" for document in self.documents())

    @property
    def acknowledged(self) -> bool:
        return "start" in self.sent.names or self.sent.status == 201

    def verify_what_is_left(self) -> None:
        found = self.documents()
        assert [m["role"] for m in found] in ([], ["user", "assistant"]), self.point
        assert found or not self.acknowledged, f"{self.point}: lost"
        assert WHOLE.startswith(self.sent.text), self.point
        if found:
            reply = found[1]
            assert WHOLE.startswith(reply["content"]), self.point
            whole = reply["content"] == WHOLE
            assert reply["status"] == "interrupted" or (reply["status"] == "complete" and whole), self.point

    def verify_reader(self) -> None:
        if self.reader is None:
            return
        self.reader.wait()
        reply = self.reply()
        assert self.reader.text == reply["content"], self.point
        last = self.reader.events[-1]
        if reply["status"] == "complete":
            assert last.name == "done", self.point
        else:
            assert (last.name, last.data["code"]) == ("error", "reply_interrupted"), self.point

    def repeat(self, client: Client) -> Exchange:
        """Repeat the turn as a client without a complete answer does: by the same key, or half by retry."""
        reply = self.reply()
        if reply and reply["status"] == "interrupted" and self.session_id.binary[-1] % 2:
            path = f"{client.messages(self.session_id)}/{reply['_id']}/retry"
            return Exchange("POST", path, client.headers, {})
        key = f"once-{self.session_id}"
        return client.send(self.session_id, key=key, stream=self.stream, model=self.model)

    def verify_complete(self, exchange: Exchange) -> None:
        assert exchange.error is None, (self.point, exchange.error)
        assert exchange.status in (200, 201), (self.point, exchange.status, exchange.body)
        question, reply = self.documents()
        assert (question["role"], reply["status"]) == ("user", "complete"), self.point
        assert reply["content"] == WHOLE, self.point
        if exchange.events:
            assert (exchange.names[-1], exchange.text) == ("done", WHOLE), self.point


@pytest.fixture
def attempts(stage: Stage, acme, alice) -> Attempts:
    for victim in stage.victims:
        wait_until(victim.is_answering, "a new worker serves")
    secret = issue(limited(acme), alice, scopes=["sessions:read", "messages:send"]).secret
    return Attempts(stage, acme, secret)


# -- the kills -------------------------------------------------------------------------------


def test_a_kill_at_any_step_of_the_request(stage, attempts):
    """Twenty turns, each held at its own step; then their worker dies."""
    victim = stage.victims[0]
    for (name, where), side, stream in product(REQUEST_STEPS.items(), Side, (True, False)):
        hold = victim.proxy.hold(where, side)
        point = f"{side.value} {name}, {'streamed' if stream else 'plain'}"
        attempts.begin(victim, point, stream=stream, model=FAST)
        assert hold.reached.wait(30), point

    victim.kill_worker()
    attempts.verify()


@pytest.mark.parametrize("step", BACKGROUND_STEPS)
def test_a_kill_at_any_step_in_the_background(stage, attempts, step):
    """A finished turn, two during their answers and one at its beginning lose their worker together."""
    for victim, side in zip(stage.victims, Side, strict=True):
        hold = victim.proxy.hold(BACKGROUND_STEPS[step], side)
        attempts.begin_and_follow(victim, f"during its answer, {side.value} {step}")
        attempts.begin(victim, f"plain, {side.value} {step}", stream=False)
        attempts.begin(victim, f"finished, {side.value} {step}", model=FAST).sent.wait()
        assert hold.reached.wait(30), step
        attempts.begin(victim, f"just begun, {side.value} {step}")

    for victim in stage.victims:
        victim.kill_worker()
    attempts.verify()


def test_a_kill_at_any_moment_of_the_answer(stage, attempts, fake_server):
    """Turns that begin one after the other are at every stage of their answers when the first has ended."""
    victim = stage.victims[0]
    fake_server.reset()
    while not any(entry.finished for entry in fake_server.log()):
        attempts.begin_and_follow(victim, "by time", stream=len(attempts.attempts) % 4 != 3)
        time.sleep(0.05)  # no synchronisation: it spreads the turns over the life of one

    victim.kill_worker()
    attempts.verify()
