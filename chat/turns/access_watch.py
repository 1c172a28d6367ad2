"""Ends open streams within seconds of access being revoked, on every worker.

A request is authorised once, when it begins; its stream may continue for minutes after that. So each open
stream has a grant, and one thread checks all grants of this process every `CHECK_SECONDS`, with four queries
however many there are. Revoked are those of a member who was removed, deactivated or given a lesser role, of
a key that was revoked or has expired, of a visitor whose key was, and all of a tenant that was suspended or
deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from accounts.models import User
from core.background import BackgroundThread
from core.mongo.models import Document
from tenants.access import Access
from tenants.access.rights import Right
from tenants.models import ApiKey, Membership, Tenant
from tenants.models.membership import Role

CHECK_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class StreamGrant:
    """The access of one open stream, to be released when the stream ends.

    When it is revoked, `revoked` becomes True and `stop` is called, from another thread.
    """

    access: Access
    right: Right
    stop: Callable[[], None]
    revoked: bool = False

    def release(self) -> None:
        """Repeatable."""
        with _lock:
            _grants.discard(self)


_grants: set[StreamGrant] = set()
_lock = threading.Lock()


def grant(access: Access, right: Right, stop: Callable[[], None]) -> StreamGrant:
    """Return the grant of a stream that requires `right`; it is watched until it is released."""
    granted = StreamGrant(access, right, stop)
    with _lock:
        _grants.add(granted)
    _thread.wake()
    return granted


def open_streams() -> int:
    """Return the number of streams of this process that are watched."""
    return len(_grants)


def _check() -> None:
    with _lock:
        grants = list(_grants)
    for revoked in revoked_among(grants):
        revoked.revoked = True
        revoked.release()
        revoked.stop()


# The delay comes before every check, so that streams that begin one after the other share one.
_thread = BackgroundThread(
    "chat-access-watch",
    _check,
    interval=lambda: 0.0 if _grants else None,
    delay_seconds=CHECK_SECONDS,
)


def revoked_among(grants: Iterable[StreamGrant]) -> list[StreamGrant]:
    """Return those whose access does not include their right any more."""
    grants = list(grants)
    if not grants:
        return []
    accesses = [granted.access for granted in grants]
    tenants = _find(Tenant, {access.tenant.pk for access in accesses}, "status", "deleted_at")
    users = _find(User, {access.user.pk for access in accesses if access.user}, "is_active")
    keys = _find(ApiKey, {access.key.pk for access in accesses if access.key}, "revoked_at", "expires_at")
    members = Membership.collection().find(
        {"user_id": {"$in": list(users)}, "tenant_id": {"$in": list(tenants)}},
        {"user_id": 1, "tenant_id": 1, "role": 1},
    )
    roles = {(row["user_id"], row["tenant_id"]): row["role"] for row in members}

    def is_valid(granted: StreamGrant) -> bool:
        access = granted.access
        tenant = tenants.get(access.tenant.pk)
        if tenant is None or tenant["deleted_at"] or tenant["status"] == Tenant.Status.SUSPENDED:
            return False
        if access.key is not None:
            key = keys.get(access.key.pk)
            return key is not None and ApiKey.from_document(key).is_usable
        if access.user is None or not users.get(access.user.pk, {}).get("is_active"):
            return False
        role = roles.get((access.user.pk, access.tenant.pk))
        return role is not None and replace(access, role=Role(role)).may(granted.right)

    return [granted for granted in grants if not is_valid(granted)]


def _find(model: type[Document], ids: set[ObjectId], *fields: str) -> dict[ObjectId, dict[str, Any]]:
    if not ids:
        return {}
    found = model.collection().find({"_id": {"$in": list(ids)}}, dict.fromkeys(fields, 1))
    return {document["_id"]: document for document in found}
