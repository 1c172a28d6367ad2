"""The plan's requests per minute in the headers of a response."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest

from core.api.limits import show_limit
from core.limits import LimitUsage


def show_plan_rate(request: HttpRequest, minute: LimitUsage) -> None:
    """Show the plan's requests per minute, as an admission carries them, in the RateLimit headers."""
    show_limit(request, replace(minute, name="minute"))
