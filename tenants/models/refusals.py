"""Refusals of weight in the audit trail: what somebody was not let do.

Whoever provokes refusals must neither fill the trail nor slow the server. So there is one line an hour for
the same tenant, actor, action, reason and network, decided by a unique index, and at most `MOST_AN_HOUR`
lines for one tenant, or for one network where no tenant is concerned. A process remembers what stands
there already: repetitions cost it no database call.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
from dataclasses import replace
from typing import Any

from bson import ObjectId
from django.conf import settings
from django.db import IntegrityError, models
from django.utils import timezone

from tenants.models.audit import SYSTEM, Actor, AuditEvent

logger = logging.getLogger("tenants")

#: Different refusals of one tenant, or else one network. Callers at the same moment may pass it by a few.
MOST_AN_HOUR = 100

_HOUR_SECONDS = 3600
_MOST_REMEMBERED = 10_000

#: Lines, and whole windows, that need no further look.
_written: set[str] = set()


def record_refusal(
    by: Actor,
    action: str,
    reason: str,
    target: models.Model,
    *,
    tenant: Any = None,
    changes: dict | None = None,
    asked: str = "",
    each: bool = False,
) -> None:
    """Put a refusal on record unless it stands there this hour. `each`: every one counts as another.

    Never raises: the answer to whoever was refused does not depend on it.
    """
    try:
        window = _window(by, tenant)
        once = window + _digest(*_identity(by, action, reason), ObjectId() if each else "")[:32]
        if once in _written or window in _written:
            return
        if _is_full(window):
            where = replace(SYSTEM, address=by.address)
            _write(where, "refusals.cut_off", target, tenant=tenant, once=window + "more")
            once = window
        else:
            refusal = {"reason": reason, "asked": asked[:200], "once": once}
            _write(by, action, target, tenant=tenant, changes=changes, **refusal)
        _remember(once)
    except Exception:  # Whatever it is, it must not turn a refusal into an error.
        logger.exception("a refusal could not be put on record", extra={"action": action, "reason": reason})


def _window(by: Actor, tenant: Any) -> str:
    """Return what the lines of this hour and tenant, or network, begin with."""
    owner = _digest("tenant", tenant.pk) if tenant else _digest("network", by.network)
    return f"{owner[:16]}.{int(timezone.now().timestamp()) // _HOUR_SECONDS}."


def _identity(by: Actor, action: str, reason: str) -> tuple[object, ...]:
    return action, reason, by.user and by.user.pk, by.key_id, by.name, by.network


def _is_full(window: str) -> bool:
    lines = {"once": {"$gte": window, "$lt": window[:-1] + "/"}}  # "/" follows "."
    return AuditEvent.collection().count_documents(lines, limit=MOST_AN_HOUR) >= MOST_AN_HOUR


def _write(*line: Any, **more: Any) -> None:
    with contextlib.suppress(IntegrityError):  # Another process was faster.
        AuditEvent.objects.record(*line, **more)


def _remember(once: str) -> None:
    if len(_written) >= _MOST_REMEMBERED:
        _written.clear()
    _written.add(once)


def _digest(*parts: object) -> str:
    """Keyed, so that it tells nobody an address or a name."""
    told = "\n".join(map(str, parts)).encode()
    return hmac.new(settings.SECRET_KEY.encode(), told, "sha256").hexdigest()
