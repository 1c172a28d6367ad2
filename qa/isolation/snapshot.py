"""What a request leaves in the database: which collections it changed, of whom, and the way back."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable
from typing import Any

import bson
from bson import ObjectId
from django.apps import apps
from django.db.models import Model
from pymongo.database import Database

from chat.analytics.models import RollupCoverage
from chat.models import ChatSession, Message
from core.audit.models import AuditEvent
from core.mongo.models import Document
from qa.snapshot import DatabaseSnapshot
from tenants.models import ApiKey, Membership, Tenant, Usage

#: Not documents of the product: counters and answers kept for a day.
_UNOWNED = {"cache"}
_SETTLED_WITHIN_SECONDS = 5.0

_TRAIL = AuditEvent._meta.db_table
_REFUSALS = ("api_key.refused", "member.refused")


class Traces:
    """Compares a database with what it was when this was made. `tenant_ids` are all there are."""

    def __init__(self, database: Database, tenant_ids: set[ObjectId]) -> None:
        self._database = database
        self._tenant_ids = tenant_ids
        self._snapshot = DatabaseSnapshot(database)
        self._hashes = self._current_hashes()

    def changed(self) -> list[str]:
        """Return the collections that are not as they were."""
        now = self._current_hashes()
        return sorted(name for name in now.keys() | self._hashes if now.get(name) != self._hashes.get(name))

    def changed_but_for_refusals(self) -> list[str]:
        """`changed`, without the audit trail if it only grew, by whom a tenant itself refused."""
        return [name for name in self.changed() if name != _TRAIL or not self._tells_own_refusals()]

    def _tells_own_refusals(self) -> bool:
        before = self._snapshot.documents.get(_TRAIL, [])
        known = [line["_id"] for line in before]
        lines = self._database[_TRAIL]
        return _digest(lines.find({"_id": {"$in": known}})) == _digest(before) and all(
            map(_is_own_refusal, lines.find({"_id": {"$nin": known}}))
        )

    def touched_beside(self, tenant_id: ObjectId) -> list[str]:
        """Return the collections in which something of other tenants is not as it was."""
        return [name for name in self.changed() if self._is_touched(name, tenant_id)]

    def remove(self) -> None:
        """Put everything back as it was."""
        self._snapshot.restore()

    def _is_touched(self, name: str, tenant_id: ObjectId) -> bool:
        """Whether documents in there that belong to other tenants, or to none, are not as they were."""
        column = {model._meta.db_table: column for model, column in owned_models().items()}.get(name)
        if column is None:
            return False
        others = self._tenant_ids - {tenant_id} | {None}
        before = (row for row in self._snapshot.documents.get(name, []) if row.get(column) in others)
        now = self._database[name].find({column: {"$in": list(others)}})
        return _digest(now) != _digest(before)

    def _current_hashes(self) -> dict[str, str]:
        hashes = self._database.command("dbHash")["collections"]
        return {name: digest for name, digest in hashes.items() if name not in _UNOWNED}


_UNSETTLED = {"$or": [{"settled": False}, {"status": "streaming"}]}


def stray_turns(tenant_id: ObjectId) -> list[str]:
    """Return in words the turns that are not settled yet and are not wholly this tenant's."""
    stray = [
        "a turn that counts against another tenant"
        for _ in Usage.collection().find({"_id": {"$ne": tenant_id}, "live": {"$gt": 0}})
    ]
    for message in Message.collection().find(_UNSETTLED):
        session = {"_id": message["session_id"], "tenant_id": tenant_id}
        if message["tenant_id"] != tenant_id or not ChatSession.collection().find_one(session):
            stray.append("a turn in no session of its tenant")
    return stray


def wait_until_settled() -> None:
    """Return once no turn runs and all are settled. Raises TimeoutError."""
    deadline = time.monotonic() + _SETTLED_WITHIN_SECONDS
    while Usage.collection().find_one({"live": {"$gt": 0}}) or Message.collection().find_one(_UNSETTLED):
        if time.monotonic() > deadline:
            raise TimeoutError(f"A turn was not settled within {_SETTLED_WITHIN_SECONDS:.0f} seconds.")
        time.sleep(0.005)


def owned_models() -> dict[type[Document], str]:
    """Return every kind of document that a tenant owns, with the column that names the tenant."""
    columns = {model: _owner_column(model) for model in apps.get_models()}
    return {model: column for model, column in columns.items() if column}


def _owner_column(model: type[Model]) -> str:
    if model in (Tenant, Usage, RollupCoverage):
        return "_id"
    columns = {each.column for each in model._meta.concrete_fields}
    return next((name for name in ("tenant_id", "tenant") if name in columns), "")


def _is_own_refusal(line: dict[str, Any]) -> bool:
    """Whether a line says that its tenant refused a member or a key of its own."""
    tenant = line["tenant_id"]
    own_key = {"_id": line["actor_key"], "tenant_id": tenant}
    own_member = {"user_id": line["actor_id"], "tenant_id": tenant}
    return line["action"] in _REFUSALS and bool(
        ApiKey.collection().find_one(own_key) or Membership.collection().find_one(own_member)
    )


def _concerns_a_person_alone(document: dict[str, Any]) -> bool:
    return document.get("target_type") == "user" and document["tenant_id"] is None


def _digest(documents: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for encoded in sorted(map(bson.encode, itertools.filterfalse(_concerns_a_person_alone, documents))):
        digest.update(encoded)
    return digest.hexdigest()
