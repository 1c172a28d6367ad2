"""Ends open streams and running requests within seconds of access being revoked, on every worker.

A request is authorised once, when it begins; its stream or its provider may take minutes after that. So each
has a grant, and one thread checks all grants of this process every `CHECK_SECONDS`, with five queries however
many there are. Revoked are those of a member who was removed, deactivated, logged out or given a lesser role,
of a key that was revoked, has expired or was narrowed (scopes, origins, networks, models), of a visitor whose
key or identity was, and all of a tenant that was suspended or deleted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId

from accounts.models import User
from chat.visitor_identity import VisitorIdentity
from core.background import BackgroundThread
from core.jobs.set_aside import set_member_aside
from core.mongo.models import Document
from llm.canonical import Target
from tenants.access import Access
from tenants.access.rights import Right
from tenants.models import ApiKey, Membership, Tenant
from tenants.models.membership import Role

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class StreamGrant:
    """The access of one open stream or running request, to be released when that ends.

    When it is revoked, `revoked` becomes True and `stop` is called, from another thread. `targets` are the
    models that it uses.
    """

    access: Access
    right: Right
    stop: Callable[[], None]
    targets: Sequence[Target] = ()
    revoked: bool = False

    def release(self) -> None:
        """Repeatable."""
        with _lock:
            _grants.discard(self)


#: What decides whether a key may be used, where and for what.
_KEY_COLUMNS = (
    "kind",
    "environment",
    "scopes",
    "allowed_origins",
    "allowed_networks",
    "allowed_models",
    "allow_browser",
    "expires_at",
    "revoked_at",
)

_grants: set[StreamGrant] = set()
_lock = threading.Lock()


def grant(
    access: Access, right: Right, stop: Callable[[], None], targets: Sequence[Target] = ()
) -> StreamGrant:
    """Return the grant of a stream that requires `right`; it is watched until it is released."""
    granted = StreamGrant(access, right, stop, targets)
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
        try:
            revoked.stop()
        except Exception:  # The streams after it end all the same.
            logger.exception("a stream could not be stopped")


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
    tenants = _find(
        Tenant, {access.tenant.pk for access in accesses}, "status", "deleted_at", "allowed_origins"
    )
    users = _find(User, {access.user.pk for access in accesses if access.user}, "is_active", "ended_sessions")
    keys = _find(ApiKey, {access.key.pk for access in accesses if access.key}, *_KEY_COLUMNS)
    identities = _find(VisitorIdentity, {access.identity_id for access in accesses if access.identity_id})
    members = Membership.collection().find(
        {"user_id": {"$in": list(users)}, "tenant_id": {"$in": list(tenants)}},
        {"user_id": 1, "tenant_id": 1, "role": 1},
    )
    roles = {(row["user_id"], row["tenant_id"]): row.get("role") for row in members}

    def is_valid(granted: StreamGrant) -> bool:
        access = granted.access
        tenant = tenants.get(access.tenant.pk)
        if tenant is None or tenant["deleted_at"] or tenant["status"] == Tenant.Status.SUSPENDED:
            return False
        if access.identity_id is not None and access.identity_id not in identities:
            return False
        if access.key is not None:
            key = keys.get(access.key.pk)
            return key is not None and _key_allows(granted, key, Tenant.from_document(tenant))
        user = users.get(access.user.pk) if access.user else None
        if access.user is None or user is None or not user["is_active"]:
            return False
        if User.from_document(user).has_ended(access.login_session):
            return False
        role = roles.get((access.user.pk, access.tenant.pk))
        return role is not None and replace(access, role=Role(role)).may(granted.right)

    def can_be_checked_and_is_valid(granted: StreamGrant) -> bool:
        try:
            return is_valid(granted)
        except Exception as error:  # Its documents cannot be read: it ends, and the others are checked.
            tenant_id = granted.access.tenant.pk
            set_member_aside("access watch", f"tenant {tenant_id}", error, tenant_id)
            return False

    return [granted for granted in grants if not can_be_checked_and_is_valid(granted)]


def _key_allows(granted: StreamGrant, document: dict[str, Any], tenant: Tenant) -> bool:
    """Whether a key as it is now allows what was granted to it or to its visitor."""
    access, key = granted.access, ApiKey.from_document(document)
    key.tenant = tenant
    return (
        key.is_usable
        and replace(access, key=key).may(granted.right)
        and _key_allows_place(key, access)
        and all(key.allows_target(target) for target in granted.targets)
    )


def _key_allows_place(key: ApiKey, access: Access) -> bool:
    if access.visitor is not None:
        return key.allows_visitor(access.address, access.origin)
    return key.allows_address(access.address) and key.accepts_origin(access.origin)


def _find(model: type[Document], ids: set[ObjectId], *fields: str) -> dict[ObjectId, dict[str, Any]]:
    if not ids:
        return {}
    found = model.collection().find({"_id": {"$in": list(ids)}}, dict.fromkeys(fields, 1))
    return {document["_id"]: document for document in found}
