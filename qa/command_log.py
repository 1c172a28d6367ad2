"""Records the commands that this process sends to MongoDB, to count round trips and explain queries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import monitoring
from pymongo.database import Database

_WRITES = {"insert", "update", "delete", "findAndModify"}
_QUERIES = {"find", "aggregate", "update", "delete", "findAndModify", "count", "distinct"}
#: Parts of a command that belong to its session, not to its query.
_ENVELOPE = {"lsid", "$db", "$clusterTime", "txnNumber", "writeConcern", "cursor", "$readPreference"}


@dataclass
class Command:
    name: str
    body: dict[str, Any]
    thread: str

    def __str__(self) -> str:
        return f"{self.name} {self.body.get(self.name)}"


class CommandLog(monitoring.CommandListener):
    """Listens to every client of this process and stores the commands sent within `recording`."""

    def __init__(self) -> None:
        self._recordings: list[Recording] = []
        self._interruptions: dict[int, Interruption] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if interruption := self._interruptions.get(threading.get_ident()):
            interruption.notice(event)
        for recording in self._recordings:
            recording.commands.append(
                Command(event.command_name, dict(event.command), threading.current_thread().name)
            )

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        recording = Recording()
        self._recordings.append(recording)
        try:
            yield recording
        finally:
            self._recordings.remove(recording)

    @contextmanager
    def interrupted(self, call: Callable[[], None], *, before_write: int = 1) -> Iterator[Interruption]:
        """Have this thread call `call` right before it sends its first write, or a later one."""
        interruption = Interruption(call, before_write)
        self._interruptions[threading.get_ident()] = interruption
        try:
            yield interruption
        finally:
            del self._interruptions[threading.get_ident()]


class Interruption:
    """Calls `call` once, before the write of that number. `happened` says whether there was one.

    Not within a transaction that has written already: it would block what `call` writes. The cache is not
    counted, nor are writes that nothing waits for.
    """

    def __init__(self, call: Callable[[], None], before_write: int) -> None:
        self._call = call
        self._writes_left = before_write
        self._has_locks = False
        self.happened = False

    def notice(self, event: monitoring.CommandStartedEvent) -> None:
        name, body = event.command_name, event.command
        if name in ("commitTransaction", "abortTransaction"):
            self._has_locks = False
        if name not in _WRITES or body[name] == "cache" or body.get("writeConcern", {}).get("w") == 0:
            return
        may_interrupt, self._has_locks = not self._has_locks, "autocommit" in body
        self._writes_left -= may_interrupt
        if may_interrupt and self._writes_left == 0:
            self.happened = True
            self._call()


@dataclass
class Recording:
    commands: list[Command] = field(default_factory=list)

    def of_this_thread(self) -> list[Command]:
        """The commands a request waited for; background threads send their own."""
        return [command for command in self.commands if command.thread == threading.current_thread().name]

    def slow_queries(self, database: Database[dict[str, Any]]) -> list[str]:
        """Explain every query of this thread; return those that scan a collection or sort in memory."""
        found = {}
        for command in self.of_this_thread():
            if command.name in _QUERIES and (slow := _slow_stages(database, command)):
                found[f"{command}: {', '.join(sorted(slow))}"] = command
        return [f"{text}\n    {command.body}" for text, command in found.items()]


def _slow_stages(database: Database[dict[str, Any]], command: Command) -> set[str]:
    """Explain each query of a command (an update may have several); return its slow stages."""
    body = {name: value for name, value in command.body.items() if name not in _ENVELOPE}
    if command.name == "aggregate":
        body["cursor"] = {}
    parts = {"update": "updates", "delete": "deletes"}.get(command.name)
    queries = [{**body, parts: [part]} for part in body[parts]] if parts in body else [body]
    stages: set[str] = set()
    for query in queries:
        stages |= _stages(database.command("explain", query, verbosity="executionStats"))
    return stages & {"COLLSCAN", "SORT", "$sort", "lookup COLLSCAN"}


def _stages(plan: Any) -> set[str]:
    """Return all stages of the winning plans."""
    if isinstance(plan, list):
        return {name for item in plan for name in _stages(item)}
    if not isinstance(plan, dict):
        return set()
    found = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
    found |= {name for name in plan if name == "$sort"}
    if plan.get("$lookup") and int(plan.get("collectionScans", 0)):
        found.add("lookup COLLSCAN")
    for name, value in plan.items():
        # A `$lookup` shows its pipeline as it was written, not whether its sort used an index.
        if name not in ("rejectedPlans", "command", "serverParameters", "$lookup"):
            found |= _stages(value)
    return found
