"""A mongod whose writes fail on demand, by mongod's own fail points.

with FaultyMongod(folder) as mongod:
    …servers with MONGODB_URI=mongod.uri…
    with mongod.failing(seed):
        …
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from core.mongo import embedded
from core.ports import free_port
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

#: The application name in `config.settings`; only its connections have faults.
_APPLICATION = "chat-agent-platform"

_WRITES = ("insert", "update", "findAndModify")

#: Not applied: refused, or the connection breaks before. Applied, which the client can't know: not confirmed
#: by a majority, or the connection breaks after. The driver retries once, so two in a row reach the product.
FAULTS: dict[str, dict[str, Any]] = {
    "stepping down": {"errorCode": 189},
    "too slow": {"errorCode": 262},
    "cut before": {"closeConnection": True},
    "unconfirmed in time": {
        "writeConcernError": {"code": 64, "errmsg": "no majority", "errInfo": {"wtimeout": True}}
    },
    "unconfirmed": {"writeConcernError": {"code": 262, "errmsg": "no majority"}},
    "cut after": {"closeConnection": True},
}

#: Between two faults; after a broken connection drivers need half a second to find the server again.
_PAUSE_SECONDS = (0.05, 0.5)


class FaultyMongod:
    """A replica set of one. `uri` is for servers; `database` is the same for tests, without faults."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.uri = f"mongodb://127.0.0.1:{self._port}/chat-agent?directConnection=true"
        self._folder = folder
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> FaultyMongod:
        (self._folder / "db").mkdir(parents=True)
        self._process = subprocess.Popen(
            [
                str(embedded.mongod_program()),
                *("--dbpath", str(self._folder / "db"), "--logpath", str(self._folder / "mongod.log")),
                *("--port", str(self._port), "--replSet", "faulty", *embedded.OPTIONS),
                *("--setParameter", "enableTestCommands=1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._client: MongoClient = MongoClient(self.uri, tz_aware=True)
        member = {"_id": 0, "host": f"127.0.0.1:{self._port}"}
        with contextlib.suppress(OperationFailure):
            self._client.admin.command("replSetInitiate", {"_id": "faulty", "members": [member]})
        wait_until(lambda: self._client.admin.command("hello")["isWritablePrimary"], "mongod takes writes")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)

    @property
    def database(self) -> Database:
        return self._client.get_default_database()

    def fail(self, fault: str, commands: Sequence[str], times: int, collection: str | None = None) -> None:
        """Make the next `times` of these commands (on a collection) fail. Replaces the previous fault."""
        self.heal()
        data: dict[str, Any] = {"failCommands": list(commands), "appName": _APPLICATION, **FAULTS[fault]}
        if collection:
            data["namespace"] = f"{self.database.name}.{collection}"
        if fault == "cut after":
            # The first write is applied and its connection cut; those that follow, like its retry, are not.
            self._set("onPrimaryTransactionalWrite", {"times": 1}, {"closeConnection": True})
        mode = {"skip": 1} if fault == "cut after" else {"times": times}
        self._failed_before = self._set("failCommand", mode, data)

    def heal(self) -> None:
        for point in ("failCommand", "onPrimaryTransactionalWrite"):
            self._set(point, "off", {})

    def wait_until_failed(self, times: int) -> None:
        """Return once `times` commands have failed since `fail`."""
        condition = {"timesEntered": self._failed_before + times, "maxTimeMS": PATIENCE_SECONDS * 1000}
        self._client.admin.command("waitForFailPoint", "failCommand", **condition)

    def _set(self, point: str, mode: Any, data: dict[str, Any]) -> int:
        """Return how often the fail point has been entered so far."""
        reply = self._client.admin.command("configureFailPoint", point, mode=mode, data=data)
        return reply["count"]

    @contextlib.contextmanager
    def failing(self, seed: int) -> Iterator[None]:
        """Make a few writes fail at a time, in every way, until the block ends. `faults` counts them."""
        over = threading.Event()
        thread = threading.Thread(target=self._fail_until, args=(over, random.Random(seed)))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.heal()

    def _fail_until(self, over: threading.Event, rng: random.Random) -> None:
        round_of_faults: list[str] = []
        while not over.is_set():
            round_of_faults = round_of_faults or rng.sample(list(FAULTS), len(FAULTS))
            fault = round_of_faults.pop()
            commands = rng.sample(_WRITES, rng.randint(1, len(_WRITES)))
            self.fail(fault, commands, rng.randint(1, 4))
            self.faults[fault] += 1
            over.wait(rng.uniform(*_PAUSE_SECONDS))
