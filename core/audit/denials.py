"""Significant denials in the audit trail: what a known caller was not allowed to do.

A caller who provokes denials must neither fill the trail nor slow the server. So there is one event an
hour for the same tenant, actor, action, reason and network, enforced by a unique index, and at most
`MAX_PER_HOUR` events for one tenant, or for one network where no tenant is concerned. Each process
remembers what is recorded already: repetitions cost no database call.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
from dataclasses import replace

from bson import ObjectId
from django.conf import settings
from django.db import IntegrityError, models
from django.utils import timezone

from core.audit.models import SYSTEM, Actor, AuditEvent, Changes

logger = logging.getLogger(__name__)

#: Different denials of one tenant, or else one network. Concurrent callers may exceed it by a few.
MAX_PER_HOUR = 100

_HOUR_SECONDS = 3600
_MAX_REMEMBERED = 10_000

#: Keys of recorded events, and of whole windows that are full: nothing more is written for these.
_recorded: set[str] = set()


def record_denial(
    actor: Actor,
    action: str,
    reason: str,
    target: models.Model,
    *,
    tenant_id: ObjectId | None = None,
    changes: Changes | None = None,
    asked: str = "",
    deduplicate: bool = True,
) -> None:
    """Record a denial unless the same one is recorded for this hour; with `deduplicate` False, each.

    `asked` is the method and route of the request. Never raises: the response does not depend on it.
    """
    try:
        window = _window(actor, tenant_id)
        discriminator = "" if deduplicate else ObjectId()
        key = window + _digest(*_identity(actor, action, reason), discriminator)[:32]
        if key in _recorded or window in _recorded:
            return
        if _is_full(window):
            _record_cut_off(actor, target, tenant_id, window)
            key = window
        else:
            with contextlib.suppress(IntegrityError):  # Another process was faster.
                AuditEvent.objects.record(
                    actor,
                    action,
                    target,
                    tenant_id=tenant_id,
                    changes=changes,
                    reason=reason,
                    asked=asked[:200],
                    dedup_key=key,
                )
        _remember(key)
    except Exception:  # Whatever fails here, the denial itself must not become an error.
        logger.exception("a denial could not be recorded", extra={"action": action, "reason": reason})


def _window(actor: Actor, tenant_id: ObjectId | None) -> str:
    """Return the common prefix of the keys of this hour and tenant, or network."""
    owner = _digest("tenant", tenant_id) if tenant_id else _digest("network", actor.source.network)
    return f"{owner[:16]}.{int(timezone.now().timestamp()) // _HOUR_SECONDS}."


def _identity(actor: Actor, action: str, reason: str) -> tuple[object, ...]:
    return action, reason, actor.user_id, actor.key_id, actor.name, actor.source.network


def _is_full(window: str) -> bool:
    keys = {"once": {"$gte": window, "$lt": window[:-1] + "/"}}  # "/" follows "." in ASCII.
    return AuditEvent.collection().count_documents(keys, limit=MAX_PER_HOUR) >= MAX_PER_HOUR


def _record_cut_off(actor: Actor, target: models.Model, tenant_id: ObjectId | None, window: str) -> None:
    """Record, once, that no more denials are recorded in this window."""
    by = replace(SYSTEM, source=replace(SYSTEM.source, address=actor.source.address))
    with contextlib.suppress(IntegrityError):
        AuditEvent.objects.record(
            by, "refusals.cut_off", target, tenant_id=tenant_id, dedup_key=window + "more"
        )


def _remember(key: str) -> None:
    if len(_recorded) >= _MAX_REMEMBERED:
        _recorded.clear()
    _recorded.add(key)


def _digest(*parts: object) -> str:
    """Return a keyed digest, so that keys reveal neither addresses nor names."""
    message = "\n".join(map(str, parts)).encode()
    return hmac.new(settings.SECRET_KEY.encode(), message, "sha256").hexdigest()
