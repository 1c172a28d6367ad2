"""Limits as clients see them: headers on every response, and a 429 that explains itself."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from core.errors import LimitReached
from core.limits import LimitUsage


def rate_limit_reached(
    usage: LimitUsage, *, scope: str, detail: str | None = None, code: str | None = None
) -> LimitReached:
    """Return the 429 of a rate: which limit, what it is counted by (`scope`), how much is used, the reset."""
    description = {
        "name": usage.name,
        "scope": scope,
        "limit": usage.limit,
        "used": usage.used,
        "reset_seconds": usage.reset_seconds,
    }
    return LimitReached(
        detail
        or f"The limit {usage.name!r} of {usage.limit} for this {scope} is reached."
        f" Try again in {usage.reset_seconds} seconds.",
        code,
        usage=usage,
        extra={"limit": description},
    )


def show_limit(request: HttpRequest | Request, usage: LimitUsage) -> None:
    """Show a rate in the response's headers. Of several the one with the least remaining is shown."""
    if usage.remaining is None:
        return
    attributes = vars(request._request if isinstance(request, Request) else request)
    shown = attributes.get("limit_usage")
    if shown is None or usage.remaining < shown.remaining:
        attributes["limit_usage"] = usage


def set_rate_limit_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set RateLimit-Policy, RateLimit and the older X-RateLimit-* from the request's rate."""
    usage: LimitUsage | None = getattr(request, "limit_usage", None)
    if usage is None:
        return
    response["RateLimit-Policy"] = f'"{usage.name}";q={usage.limit};w={usage.window_seconds}'
    response["RateLimit"] = f'"{usage.name}";r={usage.remaining};t={usage.reset_seconds}'
    response["X-RateLimit-Limit"] = str(usage.limit)
    response["X-RateLimit-Remaining"] = str(usage.remaining)
    response["X-RateLimit-Reset"] = str(usage.reset_seconds)
