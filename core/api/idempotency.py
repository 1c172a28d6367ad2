"""`Idempotency-Key` on creating POSTs: the same key and body get the same response again.

Responses are kept for 24 hours, per caller and route, in a store of their own (the cache "answers"): if it is
full or fails, only requests with an Idempotency-Key do. They may hold a secret that is shown once (a new API
key), so they are encrypted with a key derived from the client's own Idempotency-Key, which is not stored.

A response that is too large, or beyond what is kept for its caller in a day, is not kept. Its key stays
exact: sent again, it is a 409 that names what was created, and nothing is executed twice.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError
from pymongo.errors import PyMongoError
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.callers import caller_of
from core.errors import Conflict, Unavailable, Unprocessable
from core.mongo.cache import MongoCache

if TYPE_CHECKING:  # DRF's views import this package.
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

#: What a store that is down, full or read-only raises.
STORE_ERRORS = (PyMongoError, DatabaseError)

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
        with _unavailable_on_failure():
            if not _answers().add(slot, {"body": body}, RUNNING_SECONDS):
                return _replay(_answers().get(slot), body, key)
        try:
            response = action(view, request, *args, **kwargs)
        except BaseException:
            with contextlib.suppress(*STORE_ERRORS):
                _answers().delete(slot)
            raise
        try:
            _keep(request, slot, body, _seal(view, response, key), response)
        except STORE_ERRORS:
            # It is done, and the client gets its answer; the key is free again in a minute.
            logger.exception("an answer to an Idempotency-Key could not be kept")
        return response

    return wrapper


def _keep(request: Request, slot: str, body: str, sealed: str, response: Response) -> None:
    """Keep an answer if it is small enough, and its caller's day has room for it; else where to read it."""
    size = len(sealed)
    counter = f"idempotency-bytes:{caller_of(request).budget_key}"
    is_kept = size <= settings.IDEMPOTENCY_ANSWER_BYTES and (
        _answers().count(counter, size, KEPT_SECONDS) <= settings.IDEMPOTENCY_CALLER_BYTES
    )
    entry = (
        {"body": body, "sealed": sealed} if is_kept else {"body": body, "at": response.get("Location", "")}
    )
    created = (response.data or {}).get("id")
    entries = {slot: entry} | ({_slot_of(created): slot} if created else {})
    _answers().set_many(entries, KEPT_SECONDS)


def _answers() -> MongoCache:
    return cast(MongoCache, caches["answers"])


@contextlib.contextmanager
def _unavailable_on_failure() -> Iterator[None]:
    """Turn a failure of the store into a 503: without it a request could be executed twice."""
    try:
        yield
    except STORE_ERRORS as error:
        logger.exception("the store of answers to Idempotency-Keys failed")
        raise Unavailable(
            "Answers to an Idempotency-Key can't be kept right now. Try again shortly, or send the request "
            "without the header.",
            "idempotency_unavailable",
        ) from error


def forget_responses(ids: Iterable[object]) -> None:
    """Delete the stored responses that created the objects of these ids; their keys are free again."""
    slots = _answers().get_many([_slot_of(created) for created in ids])
    _answers().delete_many([*slots, *slots.values()])


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
    if stored is not None and "at" in stored:
        raise Conflict(
            "The request with this Idempotency-Key was carried out. Its answer was too large to be kept.",
            "idempotent_answer_not_kept",
            extra={"location": stored["at"]},
        )
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
