"""From a request to the message that it sends."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from rest_framework.request import Request

from chat.turns import NewMessage, RequestedOptions
from core.api.callers import caller_of
from core.api.idempotency import fingerprint, idempotency_key

_OPTIONS = tuple(RequestedOptions.__annotations__)


def new_message(request: Request, body: dict[str, Any], idempotency_digest: str | None) -> NewMessage:
    """Return the message of `body`, which is the validated request."""
    return NewMessage(
        text=body["message"],
        fingerprint=fingerprint(request.data),
        idempotency_digest=idempotency_digest,
        stream=body["stream"],
        concurrent=body.get("concurrent", False),
        metadata=body.get("metadata", {}),
        requested_options=cast(RequestedOptions, {name: body[name] for name in _OPTIONS if name in body}),
    )


def idempotency_digest(request: Request) -> str | None:
    """Return a digest of caller, route and Idempotency-Key; None without the header."""
    key = idempotency_key(request)
    if key is None:
        return None
    scope = f"{caller_of(request).rate_key}\n{request.path}\n{key}"
    return hashlib.sha256(scope.encode()).hexdigest()
