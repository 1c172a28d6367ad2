"""The plan's requests per minute on the headers of an answer."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils import timezone

from core.api.limits import LimitState, show_limit
from tenants.billing.limits import Standing


def show_minute(request: HttpRequest, minute: Standing) -> None:
    """Have the RateLimit headers tell `minute`, as an admission or a refusal carries it."""
    if minute.name == "requests_per_minute" and minute.limit is not None:
        left = minute.seconds_left(timezone.now())
        show_limit(request, LimitState("minute", minute.limit, minute.used, 60, left))
