"""Restores a database to an earlier state, for tests and for checks in temporary databases."""

from __future__ import annotations

import re
from typing import Any

import psutil
from django.core.cache import caches
from pymongo import MongoClient
from pymongo.database import Database

from core import stores
from core.mongo import embedded


class DatabaseSnapshot:
    """All documents of a database at its creation; `restore()` restores them and deletes all others.

    Django would flush every collection and emit `post_migrate` after each test, and lose the rows
    that data migrations created. Here one command returns a hash of each collection, and only those
    that changed are written.
    """

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database
        self._hashes = self._current_hashes()
        self.documents = {name: list(database[name].find()) for name in self._hashes}

    def restore(self) -> None:
        caches["default"].clear()  # Where it is Redis, it is not part of the database.
        stores.forget()
        for name, digest in self._current_hashes().items():
            if digest != self._hashes.get(name):
                self._database[name].delete_many({})
                if documents := self.documents.get(name):
                    self._database[name].insert_many(documents)

    def _current_hashes(self) -> dict[str, str]:
        hashes: dict[str, str] = self._database.command("dbHash")["collections"]
        return hashes


def drop_abandoned(client: MongoClient[dict[str, Any]]) -> None:
    """Drop the databases of tests and checks that were killed: the name of each has their process id.

    Only on the embedded server: databases of another one may belong to processes of other machines.
    """
    if client.admin.command("hello").get("setName") != embedded.REPLICA_SET:
        return
    for name in client.list_database_names():
        run = re.fullmatch(r"(?:test|isolation)_(\d+)(_gw\d+)?", name)
        if run and not psutil.pid_exists(int(run[1])):
            client.drop_database(name)
