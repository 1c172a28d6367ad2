"""A write fails for good, at each step of a turn: refused, or done without anybody knowing.

The client is answered or told to come back (503); then it gets its one answer, and the bill is exact.
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

#: Step -> the command that it is.
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

#: Nothing of a run at the OpenAI-compatible endpoint is stored but its bill.
RUN_STEPS = ("reserve", "ledger", "settle")

#: The driver tries once more, then our code has to.
TWICE = 2


@dataclass
class Stage:
    mongod: FaultyMongod
    client: Client

    @property
    def database(self) -> Database:
        return self.mongod.database

    def open_session(self) -> ObjectId:
        answer = self.client.post(f"{self.client.url}/api/chat/sessions", {})
        assert answer.status_code == 201, answer.text
        return ObjectId(answer.json()["id"])

    def wait_until_all_is_settled(self) -> None:
        wait_until(lambda: not is_anything_open(self.database), "all is settled")

    def used(self) -> list[dict[str, Any]]:
        """Return what is used, by tenant and month."""
        return [
            {name: month[name] for name in ("messages", "tokens")}
            for usage in self.database.tenants_usage.find()
            for month in usage["months"].values()
        ]

    def entered(self) -> list[dict[str, Any]]:
        """Return what the ledger sums up to, by tenant and month."""
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
        "GROQ_API_KEY": "test-key-of-nobody",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "LLM_TOTAL_SECONDS": "120",  # no reservation runs out while these tests wait
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


#: What is tried; to break connections in the background as well would show nothing new.
CASES = [
    *((step, fault) for step in STEPS for fault in ("too slow", "unconfirmed")),
    *((step, fault) for step in REQUEST_STEPS for fault in ("cut before", "cut after")),
]


@pytest.fixture(scope="module")
def turns(stage: Stage) -> dict[tuple[str, str], Turn]:
    """A turn for each case, all settled."""
    turns = {case: turn_with(stage, *case) for case in CASES}
    stage.wait_until_all_is_settled()
    return turns


def turn_with(stage: Stage, step: str, fault: str) -> Turn:
    session_id, key = stage.open_session(), f"{step}-{fault}".replace(" ", "-")
    command, collection = STEPS[step]
    stage.mongod.fail(fault, [command], TWICE, collection)
    first = stage.client.send(session_id, key=key).wait()
    if step not in REQUEST_STEPS:
        stage.mongod.wait_until_struck(1)
    stage.mongod.heal()
    if first.status != 201:
        wait_until(lambda: stage.client.send(session_id, key=key).wait().status == 201, "it is answered")
    return Turn(session_id, first)


@pytest.mark.parametrize(("step", "fault"), CASES)
def test_a_turn_survives(stage, turns, step, fault):
    turn = turns[step, fault]
    whole = step not in ("reserve", "accept")  # then it had been accepted, and its client is told the end
    assert turn.first.status in ({201} if whole else {201, 503}), turn.first.body
    question, reply = stage.database.chat_message.find({"session_id": turn.session_id}, sort=[("seq", 1)])
    assert (question["role"], reply["status"], reply["content"]) == ("user", "complete", "word1 word2 word3")
    assert stage.database.tenants_ledgerentry.count_documents({"reply": reply["_id"], "messages": 1}) == 1


def test_the_counters_are_what_the_ledger_sums_up_to(stage, turns):
    assert stage.used() == stage.entered()


def test_the_end_that_another_worker_gave_a_reply_is_told_though_it_cannot_be_read_at_once(stage):
    session_id = stage.open_session()
    sending = stage.client.send(session_id, stream=True, model="groq/tokens-20-every-100ms")
    wait_until(lambda: "delta" in sending.names, "the answer begins")
    stage.mongod.fail("too slow", ["find"], 1000, "chat_message")
    stage.database.chat_message.update_one(
        {"session_id": session_id, "status": "streaming"},
        {"$set": {"status": "interrupted", "error": INTERRUPTED, "settled": False}},
    )

    stage.mongod.wait_until_struck(40)  # the keeper meets a dozen of them before the answer's end
    stage.mongod.heal()

    assert sending.wait().names[-1] == "error", sending.broke
    assert sending.happened[-1].data["code"] == "reply_interrupted"
    stage.database.chat_message.update_one(
        {"session_id": session_id, "status": "interrupted"}, {"$set": {"finished_at": datetime.now(UTC)}}
    )
    stage.wait_until_all_is_settled()


@pytest.mark.parametrize("fault", ["too slow", "unconfirmed"])
@pytest.mark.parametrize("step", RUN_STEPS)
def test_a_run_is_billed_though_nothing_else_of_it_is_stored(stage, turns, step, fault):
    before = stage.database.tenants_ledgerentry.count_documents({})
    command, collection = STEPS[step]
    stage.mongod.fail(fault, [command], TWICE, collection)

    answer = requests.post(
        f"{stage.client.url}/v1/chat/completions",
        json={"model": "default", "messages": [{"role": "user", "content": "Count."}]},
        headers={"Authorization": f"Bearer {stage.client.headers['X-API-Key']}"},
        timeout=STUCK_SECONDS,
    )

    stage.mongod.wait_until_struck(TWICE)
    stage.mongod.heal()
    assert answer.status_code == (503 if step == "reserve" else 200), answer.text
    stage.wait_until_all_is_settled()
    billed = stage.database.tenants_ledgerentry.count_documents({}) - before
    assert billed == (0 if step == "reserve" else 1)
    assert stage.used() == stage.entered()


def test_a_run_whose_server_died_after_the_ledger_is_settled_from_it(acme):
    run = ObjectId()
    admission = Usage.objects.admit(acme, reservation_id=run, tokens=90, cost=Decimal(1), lease_seconds=-1)
    used = {"messages": 1, "tokens": 46, "cost": Decimal("0.5")}
    target = {"provider": "groq", "model": "tokens-3", "outcome": "ok"}
    LedgerEntry.objects.create(tenant=acme, month=admission.month, reply=run, **target, **used)

    settlement.sweep()

    assert list(LedgerEntry.objects.drift()) == []
    assert Usage.objects.of(acme).live == 0
