"""The rate of requests whose bodies are refused.

Reading, parsing and validating a body is work, and most endpoints count a request only once it is valid and
allowed. So that refused bodies are no free work, they count against a rate of their own, in the shared cache.
A caller that has used it up gets 429 before its next body is read. That each process remembers by itself: a
request whose body is accepted costs no round trip here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError
from rest_framework.request import Request

from core.api.callers import caller_of
from core.api.errors import PayloadTooLarge
from core.api.limits import rate_limit_reached, show_limit
from core.api.throttling import counted, rate_key
from core.errors import InvalidInput
from core.limits import LimitUsage

RATE = "refused_bodies"
_METHODS = {"POST", "PUT", "PATCH"}
_REFUSALS = (ParseError, ValidationError, PayloadTooLarge, UnsupportedMediaType, InvalidInput)

#: Callers that are remembered at most; of more the ones that were blocked first are forgotten.
_MAX_BLOCKED = 10_000

_blocked: OrderedDict[str, LimitUsage] = OrderedDict()
_lock = threading.Lock()


def check(request: Request) -> None:
    """Raise LimitReached if the caller has sent too many refused bodies, and this request may have one."""
    if not _blocked or request.method not in _METHODS:
        return
    key = rate_key(RATE, request)
    with _lock:
        usage = _blocked.get(key)
        if usage is None or usage.resets_at is None:
            return
        if usage.resets_at <= timezone.now():
            del _blocked[key]
            return
    usage = replace(usage, measured_at=timezone.now())
    show_limit(request, usage)
    raise rate_limit_reached(usage, scope=caller_of(request).rate_scope)


def count(request: HttpRequest | Request, error: Exception) -> None:
    """Count the request if `error` refuses its body. Raises Unavailable when it can't be counted."""
    if request.method not in _METHODS or not isinstance(error, _REFUSALS):
        return
    usage = counted(request, RATE, rate_key)
    if usage is not None and not usage.has_room_for(1):
        with _lock:
            _blocked[rate_key(RATE, request)] = usage
            while len(_blocked) > _MAX_BLOCKED:
                _blocked.popitem(last=False)
