"""`Idempotency-Key` on creating POSTs: the same key and body get the same response again.

Responses are kept for 24 hours, per caller and route, in the shared cache. They may hold a secret
that is shown once (a new API key), so they are encrypted with a key derived from the client's own
Idempotency-Key, which is not stored.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.cache import cache
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.callers import caller_of
from core.errors import Conflict, Unprocessable

if TYPE_CHECKING:  # DRF's views import this package.
    from rest_framework.views import APIView

KEPT_SECONDS = 24 * 3600
#: A worker that dies while it responds must not block the key for a day.
RUNNING_SECONDS = 60

#: Callers that share a credential must not get each other's responses by coincidence: a UUID is long enough.
_MIN_LENGTH_IF_SHARED = 16

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, None without one. Raises 400 if it is malformed."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    min_length = _MIN_LENGTH_IF_SHARED if caller_of(request).is_shared else 1
    if len(key) < min_length or not _KEY.fullmatch(key):
        raise ValidationError(
            {"Idempotency-Key": [f"{min_length} to 255 visible ASCII characters are expected."]},
            code="invalid",
        )
    return key


def fingerprint(data: object) -> str:
    """Return a digest of a parsed body, equal for equal JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def key_reused() -> Unprocessable:
    return Unprocessable(
        "This Idempotency-Key was used with another body. Use a new key for a new request.",
        "idempotency_key_reused",
    )


def idempotent(action: Callable[..., Response]) -> Callable[..., Response]:
    """Decorate a view's method that creates something so that it honours `Idempotency-Key`.

    It must be reached only once the caller is authorized: a kept response is returned without further checks.
    Only successes are kept: after an error the client may fix the cause and send the same key again.
    """

    @functools.wraps(action)
    def wrapper(view: APIView, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = idempotency_key(request)
        if key is None:
            return action(view, request, *args, **kwargs)
        slot = _slot(request, key)
        body = fingerprint(request.data)
        if not cache.add(slot, {"body": body}, RUNNING_SECONDS):
            return _replay(cache.get(slot), body, key)
        try:
            response = action(view, request, *args, **kwargs)
        except BaseException:
            cache.delete(slot)
            raise
        cache.set(slot, {"body": body, "sealed": _seal(view, response, key)}, KEPT_SECONDS)
        if created := (response.data or {}).get("id"):
            cache.set(_slot_of(created), slot, KEPT_SECONDS)
        return response

    return wrapper


def forget_responses(ids: Iterable[object]) -> None:
    """Delete the stored responses that created the objects of these ids; their keys are free again."""
    slots = cache.get_many([_slot_of(created) for created in ids])
    cache.delete_many([*slots, *slots.values()])


def _slot(request: Request, key: str) -> str:
    """Return where in the cache the response to `request` is kept."""
    scope = f"{caller_of(request).rate_key}\n{request.method} {request.path}\n{key}"
    return "idempotency:" + hashlib.sha256(scope.encode()).hexdigest()


def _slot_of(created: object) -> str:
    """Return where in the cache the slot is kept whose response created this object."""
    return f"idempotency-of:{created}"


def _seal(view: APIView, response: Response, key: str) -> str:
    kept = {
        "status": response.status_code,
        "data": json.loads(view.request.accepted_renderer.render(response.data) or b"null"),
        "headers": dict(response.items()),
    }
    return _cipher(key).encrypt(json.dumps(kept).encode()).decode()


def _replay(stored: Mapping[str, str] | None, body: str, key: str) -> Response:
    if stored is not None and stored["body"] != body:
        raise key_reused()
    if stored is None or "sealed" not in stored:
        raise Conflict(
            "A request with this Idempotency-Key is being answered.",
            "idempotency_key_in_use",
            retry_after_seconds=1,
        )
    kept = json.loads(_cipher(key).decrypt(stored["sealed"].encode()))
    headers = {**kept["headers"], "Idempotent-Replayed": "true"}
    return Response(kept["data"], status=kept["status"], headers=headers)


def _cipher(key: str) -> Fernet:
    secret = hashlib.blake2b(key.encode(), key=settings.SECRET_KEY.encode()[:64], digest_size=32)
    return Fernet(base64.urlsafe_b64encode(secret.digest()))
