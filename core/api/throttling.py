"""A rate limit per endpoint and caller, counted by django-ratelimit in the shared cache."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django_ratelimit.core import get_usage
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core.api.callers import caller_of
from core.api.limits import rate_limit_reached, show_limit
from core.errors import Unavailable
from core.limits import LimitUsage

if TYPE_CHECKING:  # DRF's views import this module.
    from rest_framework.views import APIView

_PERIOD_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class EndpointRate(BaseThrottle):
    """Counts the request against `settings.RATES[view.rate_scope]`.

    Counted per user, key or visitor, and for anonymous callers per network address. A view without
    `rate_scope` counts as "default". If the counter can't be read the request gets 503: it must
    not be unlimited.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        usage = counted(request, getattr(view, "rate_scope", "default"), rate_key)
        if usage is None:
            return True
        show_limit(request, usage)
        if not usage.has_room_for(0):
            raise rate_limit_reached(usage, scope=caller_of(request).rate_scope)
        if request.method not in SAFE_METHODS and getattr(view, "records_changes", False):
            _count_change(request)
        return True


def _count_change(request: Request) -> None:
    """Count a change that the audit trail keeps. Raises LimitReached beyond the caller's day."""
    usage = counted(request, "changes", rate_key)
    if usage and not usage.has_room_for(0):
        raise rate_limit_reached(usage, scope=caller_of(request).rate_scope)


def counted(
    request: HttpRequest | Request, group: str, key: Callable[[str, HttpRequest | Request], str]
) -> LimitUsage | None:
    """Count one more for `key(group, request)` under `settings.RATES[group]` and return the limit's usage.

    None when RATELIMIT_ENABLE is off. Raises Unavailable when the counter can't be read.
    """
    rate = settings.RATES.get(group, settings.RATES["default"])
    usage = get_usage(request, group=group, key=key, rate=rate, increment=True)
    if usage is None:
        return None
    # A request that was counted is at least the first. The time left does not show it: it is -1 too when
    # the window ends between two readings of the clock in django-ratelimit 4.1.
    if not usage["count"]:
        raise Unavailable("Requests can't be counted right now.", "counter_unavailable")
    now = timezone.now()
    return LimitUsage(
        name=group,
        limit=usage["limit"],
        used=usage["count"],
        measured_at=now,
        # A window includes its last second: with 0 seconds left it is still counted in.
        resets_at=now + timedelta(seconds=max(0, usage["time_left"]) + 1),
        window_seconds=_period_seconds(rate),
    )


def rate_key(group: str, request: HttpRequest | Request) -> str:
    """Return the key that a request is counted by, with the signature that django-ratelimit calls."""
    return caller_of(request).rate_key


def _period_seconds(rate: str) -> int:
    period = rate.partition("/")[2]
    return int(period[:-1] or 1) * _PERIOD_SECONDS[period[-1]]
