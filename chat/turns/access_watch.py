"""Whoever loses the right to a stream loses the stream: within seconds, on every worker.

A request is authorised once, when it begins; a stream may go on for minutes after that. So each open
stream holds on to the access it was given, and one thread asks every `CHECK_SECONDS` which of all
these still stand: four queries, however many streams there are. Ended are those of a member who was
removed, deactivated or given a lesser role, of a key that was revoked or has expired, of a visitor
whose key was, and all of a tenant that was suspended or deleted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId
from django.db import DatabaseError
from pymongo.errors import PyMongoError

from accounts.models import User
from chat.turns.sse import TurnEvent
from core.mongo.models import Document
from tenants.access import Access
from tenants.access.rights import Right
from tenants.models import ApiKey, Membership, Tenant
from tenants.models.membership import Role

logger = logging.getLogger("chat.turns.access_watch")

CHECK_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class Hold:
    """One open stream. `lost` becomes True, and `stop` is called from another thread, when it must end."""

    access: Access
    right: Right
    stop: Callable[[], None]
    lost: bool = False

    def release(self) -> None:
        """The stream is over. Repeatable."""
        with _lock:
            _holds.discard(self)


_holds: set[Hold] = set()
_lock = threading.Lock()
_wake = threading.Event()
_thread: threading.Thread | None = None


def hold(access: Access, right: Right, stop: Callable[[], None]) -> Hold:
    """Watch over a stream until it is released."""
    global _thread
    held = Hold(access, right, stop)
    with _lock:
        _holds.add(held)
        # Started by the first stream, so that no thread exists before a server forks its workers.
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_watch, name="chat-entitlement", daemon=True)
            _thread.start()
    _wake.set()
    return held


def open_streams() -> int:
    """Return how many streams of this process are watched over."""
    return len(_holds)


class EntitledEvents:
    """The events of a turn for as long as `access` gives `right`; then one `error`, and no more.

    `stop` ends the source, should it be silent. `close()` reaches the source.
    """

    def __init__(
        self,
        events: Iterator[TurnEvent | None],
        access: Access,
        right: Right,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._events = events
        self._hold = hold(access, right, stop)
        self._over = False

    @property
    def lost(self) -> bool:
        return self._hold.lost

    def __iter__(self) -> EntitledEvents:
        return self

    def __next__(self) -> TurnEvent | None:
        if self._over:
            raise StopIteration
        event = None
        try:
            if not self.lost:
                event = next(self._events)
        except StopIteration:
            self._over = True
            self._hold.release()
            if not self.lost:
                raise
        if not self.lost:
            return event
        self.close()
        return TurnEvent("error", _ENDED, event.epoch if event else 0, event.offset if event else 0)

    def close(self) -> None:
        self._over = True
        self._hold.release()
        self._events.close()


_ENDED = {
    "type": "urn:chat-agent:problem:access_ended",
    "title": "Forbidden",
    "status": 403,
    "code": "access_ended",
    "detail": "Your access to this conversation has ended.",
}


def _watch() -> None:
    while True:
        _wake.wait()
        with _lock:
            holds = list(_holds)
            if not holds:
                _wake.clear()
                continue
        try:
            for held in lost_among(holds):
                held.lost = True
                held.release()
                held.stop()
        except (PyMongoError, DatabaseError):
            logger.warning("access could not be checked", exc_info=True)
        except Exception:
            logger.exception("checking access broke")
        _pause.wait(CHECK_SECONDS)


#: Never set: a wait on it is a sleep.
_pause = threading.Event()


def lost_among(holds: Iterable[Hold]) -> list[Hold]:
    """Return those whose access does not give their right any more."""
    given = [held.access for held in holds]
    tenants = _rows(Tenant, {access.tenant.pk for access in given}, "status", "deleted_at")
    users = _rows(User, {access.user.pk for access in given if access.user}, "is_active")
    keys = _rows(ApiKey, {access.key.pk for access in given if access.key}, "revoked_at", "expires_at")
    members = Membership.collection().find(
        {"user_id": {"$in": list(users)}, "tenant_id": {"$in": list(tenants)}},
        {"user_id": 1, "tenant_id": 1, "role": 1},
    )
    roles = {(row["user_id"], row["tenant_id"]): row["role"] for row in members}

    def stands(held: Hold) -> bool:
        access = held.access
        tenant = tenants.get(access.tenant.pk)
        if tenant is None or tenant["deleted_at"] or tenant["status"] == Tenant.Status.SUSPENDED:
            return False
        if access.key is not None:
            key = keys.get(access.key.pk)
            return key is not None and ApiKey.from_document(key).is_usable
        role = roles.get((access.user.pk, access.tenant.pk))
        active = users.get(access.user.pk, {}).get("is_active")
        return bool(active and role) and replace(access, role=Role(role)).may(held.right)

    return [held for held in holds if not stands(held)]


def _rows(model: type[Document], ids: set[ObjectId], *fields: str) -> dict[ObjectId, dict[str, Any]]:
    if not ids:
        return {}
    found = model.collection().find({"_id": {"$in": list(ids)}}, dict.fromkeys(fields, 1))
    return {row["_id"]: row for row in found}
