"""Random load with aborts, retries, duplicates, failing providers and failing writes; every figure is exact.

Two servers and a process that settles everything again share a mongod whose own fail points make writes fail:
not applied, applied and not confirmed, applied and the response lost. Three tenants with low limits have a
seeded random load each (chat.tests.random_load), at the same time. The tests check each of them afterwards;
the seed is their parameter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from bson import Decimal128, ObjectId
from django.conf import settings
from pymongo.database import Database

from chat.tests.clients import Client
from chat.tests.faulty_mongod import FAULTS, FaultyMongod
from chat.tests.random_load import RandomLoad, catalogue
from chat.tests.usage_watch import UsageWatch, amounts, is_anything_open
from qa.fake_provider.server import BASE_PATHS, FakeProvider
from qa.testing.server import RunningServer
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SEEDS = (1, 2, 3)

#: So low that messages are refused all the time.
LIMITS = {
    "requests_per_minute": None,
    "concurrent_turns": 8,
    "messages_per_month": 40,
    "tokens_per_month": 4000,
    "cost_per_month": Decimal("2"),
}

#: Complete, or refused: by a provider (400 at the OpenAI-compatible endpoint, 422, 502), because another turn
#: is running (409), by a limit (429), by the database (503). Never 500.
STATUSES = {200, 201, 202, 400, 409, 422, 429, 502, 503}

THREADS = ("heartbeat", "settlement", "access-watch")

#: What a server logs only when our code is wrong.
BUGS = ("unhandled exception", "turn failed", *(f"chat-{name} failed" for name in THREADS))


@dataclass
class Aftermath:
    """What three loads have left behind."""

    loads: dict[int, RandomLoad]
    mongod: FaultyMongod
    watch: UsageWatch
    servers: list[RunningServer]
    settled_again: int
    verified: str
    repaired: bool

    @property
    def database(self) -> Database:
        return self.mongod.database


@pytest.fixture(scope="module")
def aftermath(fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    fake_server.reset()
    folder = tmp_path_factory.mktemp("random-load")
    variables = _variables(fake_server, folder)
    with (
        FaultyMongod(folder / "mongod") as mongod,
        RunningServer(mongod.uri, folder / "here", **variables) as here,
        RunningServer(mongod.uri, folder / "there", **variables) as there,
    ):
        database = mongod.database
        servers = [here, there]
        secrets = _create_tenants(here.url, database)
        loads = {}
        for seed, (tenant_id, secret) in zip(SEEDS, secrets.items(), strict=True):
            clients = [Client(server.url, secret) for server in servers]
            loads[seed] = RandomLoad(seed, tenant_id, clients, database, fake_server)
            loads[seed].prepare()

        with _resettler(mongod.uri) as resettler, UsageWatch(database, LIMITS) as watch:
            with mongod.failing(SEEDS[0]), ThreadPoolExecutor(len(SEEDS)) as pool:
                list(pool.map(RandomLoad.run, loads.values()))
            wait_until(lambda: not is_anything_open(database), "every run has ended and is settled")
            settled_again = int(resettler.communicate(timeout=PATIENCE_SECONDS)[0])
        before = list(database.tenants_usage.find())
        verified = _manage(mongod.uri, "verify_ledger", "--repair")
        repaired = list(database.tenants_usage.find()) != before
        yield Aftermath(loads, mongod, watch, servers, settled_again, verified, repaired)


def _variables(fake: FakeProvider, folder: Path) -> dict[str, str]:
    (folder / "catalogue.json").write_text(json.dumps(catalogue(SEEDS)))
    variables = {
        "LLM_ROUTE": "groq",
        "LLM_CATALOGUE": str(folder / "catalogue.json"),
        "LLM_BREAKER_FAILURES": "100000",
        "LLM_FIRST_TOKEN_SECONDS": "1",
        "LLM_BETWEEN_TOKENS_SECONDS": "0.5",
        "LLM_TOTAL_SECONDS": "4",
        "TURN_LEASE_SECONDS": "3",
    }
    for name in BASE_PATHS:
        variables[f"{name.upper()}_BASE_URL"] = fake.base_url(name)
    for name in ("GROQ", "GEMINI", "OPENROUTER"):
        variables[f"{name}_API_KEY"] = "test-key"
    return variables


def _create_tenants(url: str, database: Database) -> dict[ObjectId, str]:
    """Return the tenants' ids and a key of each; they share one plan with low limits."""
    person = {"email": "alice@example.com", "password": "long-and-hard-to-guess"}
    registered = requests.post(f"{url}/api/auth/register", json=person, timeout=PATIENCE_SECONDS).json()
    headers = {"Authorization": f"Bearer {registered['access']}"}

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = requests.post(f"{url}/api/{path}", json=body, headers=headers, timeout=PATIENCE_SECONDS)
        assert response.status_code == 201, response.text
        return response.json()

    limits = LIMITS | {"cost_per_month": Decimal128(LIMITS["cost_per_month"])}
    plan = {**database.tenants_plan.find_one({"code": "pro"}), **limits, "_id": ObjectId(), "code": "low"}
    database.tenants_plan.insert_one(plan)
    secrets = {}
    for seed in SEEDS:
        tenant = post("tenants", {"name": f"Load {seed}"})["id"]
        secrets[ObjectId(tenant)] = post(f"tenants/{tenant}/api-keys", {"name": "Site"})["key"]
    database.tenants_tenant.update_many({"_id": {"$in": list(secrets)}}, {"$set": {"plan_id": plan["_id"]}})
    return secrets


def _environment(uri: str) -> dict[str, str]:
    return os.environ | {
        "DJANGO_ENV": "test",
        "MONGODB_URI": uri,
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }


def _resettler(uri: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "chat.tests.resettler", str(SEEDS[0])],
        cwd=settings.BASE_DIR,
        env=_environment(uri),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    return process


def _manage(uri: str, *command: str) -> str:
    """Return the output of a command of manage.py, whether or not it fails."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env=_environment(uri),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed {seed}")
def load(request: pytest.FixtureRequest, aftermath: Aftermath) -> RandomLoad:
    return aftermath.loads[request.param]


# -- the load itself ---------------------------------------------------------------------------


def test_the_load_covers_every_operation_and_every_fault(aftermath, load):
    """Otherwise the tests below would prove less than they claim."""
    summary = f"\n{dict(load.done)}\n{dict(load.responses)}\n{dict(aftermath.mongod.faults)}"
    print(summary)
    assert len(load.done) == 6, summary
    statuses = {status for status, _ in load.responses}
    assert statuses >= {201, 200, 429}, summary
    assert set(aftermath.mongod.faults) == set(FAULTS), summary
    assert aftermath.watch.samples > 100
    assert aftermath.settled_again > 100
    outcomes = set(aftermath.database.tenants_ledgerentry.distinct("outcome", {"tenant_id": load.tenant_id}))
    assert len(outcomes) >= 4, outcomes


# -- clients -------------------------------------------------------------------------------------


def test_every_response_is_a_success_or_a_defined_error(load):
    assert {status for status, _ in load.responses} <= STATUSES, dict(load.responses)
    assert load.broken == []


def test_no_failing_write_causes_an_unexpected_error(aftermath):
    for server in aftermath.servers:
        assert [line for line in server.output.splitlines() if any(bug in line for bug in BUGS)] == []


# -- messages -------------------------------------------------------------------------------------


def test_every_accepted_message_exists_once(aftermath, load):
    stored = [
        message["content"]
        for message in aftermath.database.chat_message.find({"tenant_id": load.tenant_id, "role": "user"})
    ]
    assert len(stored) == len(set(stored))
    assert set(stored) <= set(load.questions)
    assert set(stored) >= load.acknowledged


def test_every_idempotency_key_has_one_question_with_one_reply(aftermath, load):
    messages = aftermath.database.chat_message
    keyed = [text for text, key in load.questions.items() if key]
    questions = list(messages.find({"tenant_id": load.tenant_id, "content": {"$in": keyed}, "role": "user"}))
    assert questions
    assert len({question["idempotency"] for question in questions}) == len(questions)
    for question in questions:
        assert messages.count_documents({"in_reply_to_id": question["_id"]}) <= 1


def test_every_reply_has_ended_and_is_settled(aftermath, load):
    replies = aftermath.database.chat_message.find({"tenant_id": load.tenant_id, "role": "assistant"})
    assert {(reply["status"] != "streaming", reply["settled"]) for reply in replies} == {(True, True)}


# -- limits and money ------------------------------------------------------------------------------


def test_used_and_reserved_never_exceed_a_limit(aftermath):
    assert aftermath.watch.violations == []


def test_nothing_stays_reserved(aftermath, load):
    usage = aftermath.database.tenants_usage.find_one({"_id": load.tenant_id})
    assert (usage["live"], usage["ended"], usage["reservations"]) == (0, 0, {})
    for month in usage["months"].values():
        assert {month[f"reserved_{counter}"] for counter in ("messages", "tokens")} == {0}
        assert month["reserved_cost"].to_decimal() == 0


def test_the_ledger_shows_no_drift_and_nothing_to_repair(aftermath):
    assert (aftermath.verified, aftermath.repaired) == ("drift: 0\n", False)


def test_the_ledger_equals_a_recount_of_the_replies(aftermath, load):
    replies = list(aftermath.database.chat_message.find({"tenant_id": load.tenant_id, "role": "assistant"}))
    lines = _ledger(aftermath, load, {"session": {"$ne": None}})
    receipt = {}
    for reply in replies:
        numbers: dict[int, int] = {}
        for attempt in reply["attempts"]:
            run = attempt["run"]
            numbers[run] = numbers.get(run, 0) + 1
            receipt[reply["_id"], run, numbers[run]] = attempt
    assert set(receipt) == {(line["reply"], line["run"], line["attempt"]) for line in lines}
    for line in lines:
        attempt = receipt[line["reply"], line["run"], line["attempt"]]
        cost = None if attempt["cost"] is None else Decimal(attempt["cost"])
        answered = attempt["outcome"] in ("ok", "cancelled")
        tokens = attempt.get("input_tokens", 0) + attempt.get("output_tokens", 0)
        assert line["tokens"] == (tokens if answered or not attempt.get("tokens_estimated") else 0)
        assert (line["cost"] and line["cost"].to_decimal()) == cost
    by_reply = {reply["_id"]: reply for reply in replies}
    for reply in replies:
        counted = sum(
            line["messages"] for line in lines if (line["reply"], line["run"]) == (reply["_id"], reply["run"])
        )
        of_run = [attempt for attempt in reply["attempts"] if attempt["run"] == reply["run"]]
        ended_well = reply["status"] == "cancelled" or any(each.get("delivered") for each in of_run[-1:])
        reached = reply["status"] == "complete" or (ended_well and bool(reply["content"]))
        assert counted == reached, reply
    assert {line["reply"] for line in lines} <= set(by_reply)


def test_the_counters_are_the_sums_of_the_ledger(aftermath, load):
    usage = aftermath.database.tenants_usage.find_one({"_id": load.tenant_id})
    for month, counted in usage["months"].items():
        lines = _ledger(aftermath, load, {"month": month})
        assert amounts(counted) == {
            "messages": sum(line["messages"] for line in lines),
            "tokens": sum(line["tokens"] for line in lines),
            "cost": sum((line["cost"].to_decimal() for line in lines if line["cost"]), Decimal(0)),
        }


def test_every_call_to_a_provider_is_in_the_ledger_once(aftermath, load):
    """Where that can be decided: of a run whose worker counted as dead the attempts are lost, and its ledger
    entry says so. A call that was stopped before its first token may have reached the provider or not.
    """
    calls = Counter(entry.model for entry in load.fake.log() if entry.method == "POST")
    lines = _ledger(aftermath, load, {})
    decided = 0
    for place in load.places:
        made = sum(calls[model] for model in place.models)
        here = [line for line in lines if line["model"] in place.models]
        lost = [line for line in here if line["outcome"] == "interrupted"]
        stopped = [line for line in here if line["outcome"] in ("cancelled", "timeout")]
        silent = [line for line in stopped if not line["output_tokens"]]
        certain = len(here) - len(lost) - len(silent)
        assert certain <= made, place
        assert lost or made <= certain + len(silent), place
        decided += not lost and made > 0
    assert decided


def _ledger(aftermath: Aftermath, load: RandomLoad, condition: dict[str, Any]) -> list[dict[str, Any]]:
    return list(aftermath.database.tenants_ledgerentry.find({"tenant_id": load.tenant_id, **condition}))
