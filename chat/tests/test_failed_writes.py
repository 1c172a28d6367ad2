"""A write fails permanently at each step of a turn: refused, or applied without confirmation.

The client gets its answer, or a 503 and then, with the same key, one answer. Ledger and usage are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
from bson import ObjectId
from pymongo.database import Database

from chat.tests.clients import STUCK_SECONDS, Client, Exchange
from chat.tests.faulty_mongod import FaultyMongod
from chat.tests.usage_watch import is_anything_open
from chat.turns import settlement
from chat.turns.attempts import INTERRUPTED
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until
from tenants.models import LedgerEntry, Usage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Step -> its command and collection.
STEPS = {
    "reserve": ("findAndModify", "tenants_usage"),
    "accept": ("insert", "chat_message"),
    "finish": ("findAndModify", "chat_message"),
    "ledger": ("insert", "tenants_ledgerentry"),
    "settle": ("update", "tenants_usage"),
    "count": ("update", "chat_chatsession"),
    "settled": ("update", "chat_message"),
}
REQUEST_STEPS = ("reserve", "accept", "finish")

#: Of a run at the OpenAI-compatible endpoint only the usage is stored.
RUN_STEPS = ("reserve", "ledger", "settle")

#: The driver retries once; the second failure reaches the product.
TWICE = 2


@dataclass
class Stage:
    mongod: FaultyMongod
    client: Client

    @property
    def database(self) -> Database:
        return self.mongod.database

    def create_session(self) -> ObjectId:
        response = self.client.post(f"{self.client.url}/api/chat/sessions", {})
        assert response.status_code == 201, response.text
        return ObjectId(response.json()["id"])

    def wait_until_settled(self) -> None:
        wait_until(lambda: not is_anything_open(self.database), "everything is settled")

    def used(self) -> list[dict[str, Any]]:
        """Return what is used, by tenant and month."""
        return [
            {name: month[name] for name in ("messages", "tokens")}
            for usage in self.database.tenants_usage.find()
            for month in usage["months"].values()
        ]

    def billed(self) -> list[dict[str, Any]]:
        """Return the sums of the ledger, by tenant and month."""
        sums = {name: {"$sum": f"${name}"} for name in ("messages", "tokens")}
        by = {"tenant": "$tenant_id", "month": "$month"}
        rows = self.database.tenants_ledgerentry.aggregate(
            [{"$group": {"_id": by, **sums}}, {"$unset": "_id"}]
        )
        return list(rows)


@pytest.fixture(scope="module")
def stage(fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    fake_server.reset()
    folder = tmp_path_factory.mktemp("failed-writes")
    variables = {
        "LLM_ROUTE": "groq/tokens-3",
        "GROQ_API_KEY": "test-key",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "LLM_TOTAL_SECONDS": "120",  # no reservation expires while these tests wait
        "TURN_LEASE_SECONDS": "1",
    }
    with (
        FaultyMongod(folder / "mongod") as mongod,
        RunningServer(mongod.uri, folder / "server", "--seed", **variables) as server,
    ):
        secret = server.output.partition("API key")[2].split()[0]
        unlimited = {"requests_per_minute": None, "concurrent_turns": None}
        mongod.database.tenants_plan.update_many({}, {"$set": unlimited})
        yield Stage(mongod, Client(server.url, secret))


@dataclass
class Turn:
    """A message sent while a step fails, and sent again with its key until it is answered."""

    session_id: ObjectId
    first: Exchange


#: Breaking connections in the background as well would show nothing new.
CASES = [
    *((step, fault) for step in STEPS for fault in ("too slow", "unconfirmed")),
    *((step, fault) for step in REQUEST_STEPS for fault in ("cut before", "cut after")),
]


@pytest.fixture(scope="module")
def turns(stage: Stage) -> dict[tuple[str, str], Turn]:
    """A turn for each case, all settled."""
    turns = {case: turn_with(stage, *case) for case in CASES}
    stage.wait_until_settled()
    return turns


def turn_with(stage: Stage, step: str, fault: str) -> Turn:
    session_id, key = stage.create_session(), f"{step}-{fault}".replace(" ", "-")
    command, collection = STEPS[step]
    stage.mongod.fail(fault, [command], TWICE, collection)
    first = stage.client.send(session_id, key=key).wait()
    if step not in REQUEST_STEPS:
        stage.mongod.wait_until_failed(1)
    stage.mongod.heal()
    if first.status != 201:
        wait_until(lambda: stage.client.send(session_id, key=key).wait().status == 201, "it is answered")
    return Turn(session_id, first)


@pytest.mark.parametrize(("step", "fault"), CASES)
def test_a_turn_survives(stage, turns, step, fault):
    turn = turns[step, fault]
    accepted = step not in ("reserve", "accept")
    assert turn.first.status in ({201} if accepted else {201, 503}), turn.first.body
    question, reply = stage.database.chat_message.find({"session_id": turn.session_id}, sort=[("seq", 1)])
    assert (question["role"], reply["status"], reply["content"]) == ("user", "complete", "word1 word2 word3")
    assert stage.database.tenants_ledgerentry.count_documents({"reply": reply["_id"], "messages": 1}) == 1


def test_the_counters_are_the_sums_of_the_ledger(stage, turns):
    assert stage.used() == stage.billed()


def test_a_reply_that_another_worker_ended_is_reported_once_it_can_be_read(stage):
    session_id = stage.create_session()
    sending = stage.client.send(session_id, stream=True, model="groq/tokens-20-every-100ms")
    wait_until(lambda: "delta" in sending.names, "the answer begins")
    stage.mongod.fail("too slow", ["find"], 1000, "chat_message")
    stage.database.chat_message.update_one(
        {"session_id": session_id, "status": "streaming"},
        {"$set": {"status": "interrupted", "error": INTERRUPTED, "settled": False}},
    )

    stage.mongod.wait_until_failed(40)  # about a dozen are the heartbeat's, before the answer's end
    stage.mongod.heal()

    assert sending.wait().names[-1] == "error", sending.error
    assert sending.events[-1].data["code"] == "reply_interrupted"
    stage.database.chat_message.update_one(
        {"session_id": session_id, "status": "interrupted"}, {"$set": {"finished_at": datetime.now(UTC)}}
    )
    stage.wait_until_settled()


@pytest.mark.parametrize("fault", ["too slow", "unconfirmed"])
@pytest.mark.parametrize("step", RUN_STEPS)
def test_a_completion_is_billed_although_nothing_else_of_it_is_stored(stage, turns, step, fault):
    before = stage.database.tenants_ledgerentry.count_documents({})
    command, collection = STEPS[step]
    stage.mongod.fail(fault, [command], TWICE, collection)

    response = requests.post(
        f"{stage.client.url}/v1/chat/completions",
        json={"model": "default", "messages": [{"role": "user", "content": "Count."}]},
        headers={"Authorization": f"Bearer {stage.client.headers['X-API-Key']}"},
        timeout=STUCK_SECONDS,
    )

    stage.mongod.wait_until_failed(TWICE)
    stage.mongod.heal()
    assert response.status_code == (503 if step == "reserve" else 200), response.text
    stage.wait_until_settled()
    billed = stage.database.tenants_ledgerentry.count_documents({}) - before
    assert billed == (0 if step == "reserve" else 1)
    assert stage.used() == stage.billed()


def test_a_completion_whose_worker_died_is_settled_from_the_ledger(acme):
    run = ObjectId()
    admission = Usage.objects.admit(acme, reservation_id=run, tokens=90, cost=Decimal(1), lease_seconds=-1)
    used = {"messages": 1, "tokens": 46, "cost": Decimal("0.5")}
    target = {"provider": "groq", "model": "tokens-3", "outcome": "ok"}
    LedgerEntry.objects.create(tenant=acme, month=admission.month, reply=run, **target, **used)

    settlement.sweep()

    assert list(LedgerEntry.objects.drift()) == []
    assert Usage.objects.of(acme).live == 0
