"""`Idempotency-Key` on creating POSTs: the same key and body get the same answer once more.

Kept for 24 hours, per caller and route, in the shared cache. Answers may hold
a secret that is shown once (a new API key), so they are kept encrypted under a
key derived from the client's own Idempotency-Key, which is not kept.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.cache import cache
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.callers import caller_of
from core.errors import Conflict, Unprocessable

KEPT_SECONDS = 24 * 3600
# A worker that dies while it answers must not block the key for a day.
RUNNING_SECONDS = 60

#: Callers that share a credential must not get each other's answers by coincidence: a UUID is long enough.
_SHORTEST_AMONG_MANY = 16

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, None without one; 400 when it is malformed."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    shortest = _SHORTEST_AMONG_MANY if caller_of(request).is_shared else 1
    if len(key) < shortest or not _KEY.fullmatch(key):
        raise ValidationError(
            {"Idempotency-Key": [f"{shortest} to 255 visible ASCII characters are expected."]}, code="invalid"
        )
    return key


def fingerprint(data: object) -> str:
    """Return a digest of a parsed body; equal for equal JSON, whatever its spacing."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def key_reused() -> Unprocessable:
    return Unprocessable(
        "This Idempotency-Key was used with another body. Use a new key for a new request.",
        "idempotency_key_reused",
    )


def idempotent(action: Callable[..., Response]) -> Callable[..., Response]:
    """Make a creating action of a view honour `Idempotency-Key`.

    Only successes are kept: after an error the client may correct the cause and
    send the same key again.
    """

    @functools.wraps(action)
    def answered_once(view, request: Request, *args, **kwargs) -> Response:
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
        kept = {
            "status": response.status_code,
            "data": json.loads(view.request.accepted_renderer.render(response.data) or b"null"),
            "headers": dict(response.items()),
        }
        sealed = _cipher(key).encrypt(json.dumps(kept).encode()).decode()
        cache.set(slot, {"body": body, "sealed": sealed}, KEPT_SECONDS)
        if made := (response.data or {}).get("id"):
            cache.set(_answer_about(made), slot, KEPT_SECONDS)
        return response

    return answered_once


def forget_answers(ids: Iterable[object]) -> None:
    """Forget the stored answers that made the objects of these ids; their keys are free again."""
    slots = cache.get_many([_answer_about(made) for made in ids])
    cache.delete_many([*slots, *slots.values()])


def _answer_about(made: object) -> str:
    return f"idempotency-of:{made}"


def _replay(stored: dict | None, body: str, key: str) -> Response:
    if stored is not None and stored["body"] != body:
        raise key_reused()
    if stored is None or "sealed" not in stored:
        raise Conflict(
            "A request with this Idempotency-Key is being answered.",
            "idempotency_key_in_use",
            retry_after_seconds=1,
        )
    kept = json.loads(_cipher(key).decrypt(stored["sealed"].encode()))
    return Response(
        kept["data"], status=kept["status"], headers={**kept["headers"], "Idempotent-Replayed": "true"}
    )


def _slot(request: Request, key: str) -> str:
    scope = f"{caller_of(request).rate_key}\n{request.method} {request.path}\n{key}"
    return "idempotency:" + hashlib.sha256(scope.encode()).hexdigest()


def _cipher(key: str) -> Fernet:
    secret = hashlib.blake2b(key.encode(), key=settings.SECRET_KEY.encode()[:64], digest_size=32)
    return Fernet(base64.urlsafe_b64encode(secret.digest()))
