"""What the program asks of the database: to count its round trips and to explain its queries."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import monitoring
from pymongo.database import Database

_QUERIES = {"find", "aggregate", "update", "delete", "findAndModify", "count", "distinct"}
#: Parts of a command that belong to its connection, not to its question.
_ENVELOPE = {"lsid", "$db", "$clusterTime", "txnNumber", "writeConcern", "cursor", "$readPreference"}


@dataclass
class Command:
    name: str
    body: dict[str, Any]
    thread: str

    def __str__(self) -> str:
        return f"{self.name} {self.body.get(self.name)}"


class CommandLog(monitoring.CommandListener):
    """Listens to every client of this process; keeps what is sent while somebody is `recording`."""

    def __init__(self) -> None:
        self._recordings: list[Recording] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
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


@dataclass
class Recording:
    commands: list[Command] = field(default_factory=list)

    def of_this_thread(self) -> list[Command]:
        """The commands a request waited for; background threads send their own."""
        return [command for command in self.commands if command.thread == threading.current_thread().name]

    def slow_queries(self, database: Database) -> list[str]:
        """Explain every query of this thread; return those that scan a collection or sort in memory."""
        found = {}
        for command in self.of_this_thread():
            if command.name in _QUERIES and (faults := _faults(database, command)):
                found[f"{command}: {', '.join(sorted(faults))}"] = command
        return [f"{text}\n    {command.body}" for text, command in found.items()]


def _faults(database: Database, command: Command) -> set[str]:
    """Explain each question of a command (an update may hold several)."""
    body = {name: value for name, value in command.body.items() if name not in _ENVELOPE}
    if command.name == "aggregate":
        body["cursor"] = {}
    parts = {"update": "updates", "delete": "deletes"}.get(command.name)
    questions = [{**body, parts: [part]} for part in body[parts]] if parts in body else [body]
    faults: set[str] = set()
    for question in questions:
        plan = database.command("explain", question, verbosity="executionStats")
        faults |= _stages(plan)
    return faults & {"COLLSCAN", "SORT", "$sort", "lookup COLLSCAN"}


def _stages(plan: Any) -> set[str]:
    """Every stage that won anywhere in a plan. Rejected plans don't count."""
    if isinstance(plan, list):
        return {name for item in plan for name in _stages(item)}
    if not isinstance(plan, dict):
        return set()
    found = {plan["stage"]} if isinstance(plan.get("stage"), str) else set()
    found |= {name for name in plan if name == "$sort"}
    if plan.get("$lookup") and int(plan.get("collectionScans", 0)):
        found.add("lookup COLLSCAN")
    for name, value in plan.items():
        # A look-up shows its pipeline as it was written; whether its sort used an index only counts tell.
        if name not in ("rejectedPlans", "command", "serverParameters", "$lookup"):
            found |= _stages(value)
    return found
