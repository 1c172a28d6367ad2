"""The database is killed or suspended during answers: accepted messages are kept, turns end as usual."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from bson import ObjectId
from django.conf import settings
from pymongo import MongoClient
from pymongo.database import Database

from chat.tests.clients import Client, Exchange
from qa.fake_provider.server import FakeProvider
from qa.testing.server import RunningServer
from qa.testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WHOLE = " ".join(f"word{number}" for number in range(1, 81))


@dataclass
class Stage:
    """Two servers on one database: `here` owns mongod and restarts it, `there` joins it."""

    here: Client
    there: Client
    server: RunningServer
    database: Database
    uri: str

    @property
    def mongod(self) -> psutil.Process:
        return self.server.child("mongod")

    def create_session(self) -> ObjectId:
        response = self.here.post(f"{self.here.url}/api/chat/sessions", {})
        assert response.status_code == 201, response.text
        return ObjectId(response.json()["id"])

    def reply_in(self, session_id: ObjectId) -> dict[str, Any] | None:
        return self.database.chat_message.find_one({"session_id": session_id, "role": "assistant"})

    def verify_ledger(self) -> None:
        command = [sys.executable, "manage.py", "verify_ledger"]
        environment = os.environ | {"DJANGO_ENV": "test", "MONGODB_URI": self.uri}
        subprocess.run(command, cwd=settings.BASE_DIR, env=environment, check=True)


@pytest.fixture(scope="module")
def stage(fake_server: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The provider answers 80 tokens in 4 seconds."""
    fake_server.reset()
    folder = tmp_path_factory.mktemp("stage")
    variables = {
        "LLM_ROUTE": "groq/tokens-80-every-50ms",
        "GROQ_API_KEY": "test-key",
        "GROQ_BASE_URL": fake_server.base_url("groq"),
        "TURN_LEASE_SECONDS": "4",  # shorter than the database is suspended
    }
    with RunningServer("", folder / "here", "--seed", **variables) as here:
        key = re.search(r"API key +(\S+)", here.output)[1]
        port = (folder / "here" / "test-mongodb" / "port").read_text()
        uri = f"mongodb://127.0.0.1:{port}/chat-agent?directConnection=true"
        with (
            RunningServer(uri, folder / "there", **variables) as there,
            MongoClient(uri, tz_aware=True) as client,
        ):
            clients = [Client(server.url, key) for server in (here, there)]
            yield Stage(*clients, here, client["chat-agent"], uri)


@dataclass
class Turn:
    """A turn at one server that is read at the other at the same time."""

    session_id: ObjectId
    sent: Exchange
    reader: Exchange


def begin(stage: Stage, *, stream: bool) -> Turn:
    session_id = stage.create_session()
    sent = stage.here.send(session_id, key=str(session_id), stream=stream)
    wait_until(lambda: (stage.reply_in(session_id) or {}).get("content"), "it is being answered")
    return Turn(session_id, sent, stage.there.follow(session_id, stage.reply_in(session_id)["_id"]))


def verify(stage: Stage, turns: list[Turn]) -> None:
    """Check that every turn is complete for its sender, its reader and in the database, and settled."""
    for turn in turns:
        turn.sent.wait()
        assert turn.sent.error is None
        assert (turn.sent.text if turn.sent.events else turn.sent.body["reply"]["content"]) == WHOLE
        assert turn.reader.wait().names[-1] == "done", turn.reader.events[-1]
        assert turn.reader.text == WHOLE
        found = list(stage.database.chat_message.find({"session_id": turn.session_id}, sort=[("seq", 1)]))
        assert [(m["role"], m["status"]) for m in found] == [("user", "complete"), ("assistant", "complete")]
        assert found[1]["content"] == WHOLE
    wait_until(
        lambda: stage.database.tenants_usage.find_one({"live": {"$gt": 0}}) is None, "everything is settled"
    )
    stage.verify_ledger()


def test_answers_continue_while_the_database_is_killed_and_restarted(stage):
    """Messages sent meanwhile are accepted or refused; repeated with the same key they are answered once."""
    turns = [begin(stage, stream=stream) for stream in (True, True, False)]
    sessions = [stage.create_session() for _ in range(4)]

    killed = stage.mongod
    killed.kill()
    killed.wait()
    meanwhile = [stage.here.send(session, key=str(session), stream=True) for session in sessions]

    for sent in meanwhile:
        sent.wait()
        assert sent.status in (200, 503) or sent.error, sent.body
    wait_until(lambda: stage.here.get(f"{stage.here.url}/ready").ok, "the database is back")
    for session in sessions:
        again = stage.here.send(session, key=str(session), stream=True).wait()
        assert (again.status, again.text) == (200, WHOLE), again.body
        assert stage.database.chat_message.count_documents({"session_id": session, "role": "user"}) == 1
    verify(stage, turns)


def test_answers_continue_while_the_database_is_suspended(stage):
    """Longer than a lease: workers that could not renew theirs do not count as dead."""
    turns = [begin(stage, stream=stream) for stream in (True, True, False)]

    suspended = stage.mongod
    suspended.suspend()
    before = turns[0].sent.text
    wait_until(lambda: len(turns[0].sent.text) > len(before) + 30, "tokens keep coming")
    time.sleep(5)  # the fault itself
    suspended.resume()

    verify(stage, turns)
