"""The actor of a request, as the audit trail records it."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request

from core.api.addresses import client_address, client_network
from core.api.callers import caller_of
from core.audit.models import Actor, Source


def actor_of(request: HttpRequest | Request) -> Actor:
    """Return the authenticated user or API key of a request, else an actor without a name."""
    source = source_of(request)
    if request.user.is_authenticated:
        return Actor(request.user.get_username(), user_id=request.user.pk, source=source)
    caller = caller_of(request)
    return Actor(caller.actor_name, key_id=caller.actor_key_id, source=source)


def source_of(request: HttpRequest | Request) -> Source:
    return Source(
        address=client_address(request),
        network=client_network(request),
        user_agent=request.headers.get("User-Agent", "")[:300],
        request_id=getattr(request, "id", ""),
    )
