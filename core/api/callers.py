"""The caller of a request."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest
from rest_framework.request import Request

from core.api.addresses import client_network
from core.callers import AnonymousCaller, Caller


def caller_of(request: HttpRequest | Request) -> Caller:
    """Return the caller that authentication has found, else an anonymous one."""
    auth = cast("Caller | None", getattr(request, "auth", None))
    return AnonymousCaller(client_network(request)) if auth is None else auth
