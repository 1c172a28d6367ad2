"""What a request changed in the database: which collections, whose documents, and the way back."""

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
from qa.snapshot import DatabaseSnapshot
from tenants.models import ApiKey, Membership, Tenant, Usage

#: Not documents of a tenant: counters, responses stored for a day, and what readiness checks write.
_UNOWNED = {"cache", "kept_answers", "console_sessions", "probe"}
_SETTLED_WITHIN_SECONDS = 5.0

_AUDIT_TRAIL = AuditEvent._meta.db_table
_DENIALS = ("api_key.refused", "member.refused")


class ChangeDetector:
    """Compares a database with its state when this object was created. `tenant_ids` are all tenants."""

    def __init__(self, database: Database[dict[str, Any]], tenant_ids: set[ObjectId]) -> None:
        self._database = database
        self._tenant_ids = tenant_ids
        self._snapshot = DatabaseSnapshot(database)
        self._hashes = self._current_hashes()

    def changed(self) -> list[str]:
        """Return the collections that differ."""
        now = self._current_hashes()
        return sorted(name for name in now.keys() | self._hashes if now.get(name) != self._hashes.get(name))

    def changed_except_denials(self) -> list[str]:
        """Return `changed`, without an audit trail that only grew by denials of a tenant's own callers."""
        return [name for name in self.changed() if name != _AUDIT_TRAIL or not self._only_own_denials_added()]

    def _only_own_denials_added(self) -> bool:
        before = self._snapshot.documents.get(_AUDIT_TRAIL, [])
        known = [event["_id"] for event in before]
        events = self._database[_AUDIT_TRAIL]
        return _digest(events.find({"_id": {"$in": known}})) == _digest(before) and all(
            map(_is_own_denial, events.find({"_id": {"$nin": known}}))
        )

    def changed_for_others(self, tenant_id: ObjectId) -> list[str]:
        """Return the collections in which documents of other tenants, or of none, differ."""
        return [name for name in self.changed() if self._is_changed_for_others(name, tenant_id)]

    def restore(self) -> None:
        self._snapshot.restore()

    def _is_changed_for_others(self, name: str, tenant_id: ObjectId) -> bool:
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


def misplaced_turns(tenant_id: ObjectId) -> list[str]:
    """Return descriptions of the unsettled turns that do not belong wholly to this tenant."""
    misplaced = [
        "a turn that counts against another tenant"
        for _ in Usage.collection().find({"_id": {"$ne": tenant_id}, "live": {"$gt": 0}})
    ]
    for message in Message.collection().find(_UNSETTLED):
        session = {"_id": message["session_id"], "tenant_id": tenant_id}
        if message["tenant_id"] != tenant_id or not ChatSession.collection().find_one(session):
            misplaced.append("a turn in no session of its tenant")
    return misplaced


def wait_until_settled() -> None:
    """Return once no turn runs and all are settled. Raises TimeoutError."""
    deadline = time.monotonic() + _SETTLED_WITHIN_SECONDS
    while Usage.collection().find_one({"live": {"$gt": 0}}) or Message.collection().find_one(_UNSETTLED):
        if time.monotonic() > deadline:
            raise TimeoutError(f"A turn was not settled within {_SETTLED_WITHIN_SECONDS:.0f} seconds.")
        time.sleep(0.005)


def owned_models() -> dict[type[Model], str]:
    """Return every model whose documents belong to a tenant, with the column that holds the tenant's id."""
    columns = {model: _owner_column(model) for model in apps.get_models()}
    return {model: column for model, column in columns.items() if column}


def _owner_column(model: type[Model]) -> str:
    if model in (Tenant, Usage, RollupCoverage):
        return "_id"
    columns = {each.column for each in model._meta.concrete_fields}
    return next((name for name in ("tenant_id", "tenant") if name in columns), "")


def _is_own_denial(event: dict[str, Any]) -> bool:
    """Whether an event is the denial of a member or a key of the tenant in whose trail it is."""
    tenant = event["tenant_id"]
    own_key = {"_id": event["actor_key"], "tenant_id": tenant}
    own_member = {"user_id": event["actor_id"], "tenant_id": tenant}
    return event["action"] in _DENIALS and bool(
        ApiKey.collection().find_one(own_key) or Membership.collection().find_one(own_member)
    )


def _concerns_a_user_only(document: dict[str, Any]) -> bool:
    return document.get("target_type") == "user" and document["tenant_id"] is None


def _digest(documents: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for encoded in sorted(map(bson.encode, itertools.filterfalse(_concerns_a_user_only, documents))):
        digest.update(encoded)
    return digest.hexdigest()
