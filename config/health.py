"""What operators ask the process itself."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.response import Response

from core import metrics, shutdown
from core.api.addresses import client_address
from core.api.errors import problem_response
from llm import providers

VERSION = settings.SPECTACULAR_SETTINGS["VERSION"]

_started = time.monotonic()


def health(request: HttpRequest) -> HttpResponse:
    """200 while this process answers at all; asks nothing else."""
    return _read_only(request) or JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """200 when a request could be served: the database and the shared cache answer. Else 503.

    A worker that is being stopped is "draining".
    """
    if refusal := _read_only(request):
        return refusal
    checks = {"database": _answers(_ping_database), "cache": _answers(_ping_cache)}
    ok = all(checks.values()) and not shutdown.is_draining()
    standing = "ready" if ok else "draining" if shutdown.is_draining() else "unavailable"
    return JsonResponse(
        {"status": standing, "checks": checks},
        status=200 if ok else 503,
        headers={} if ok else {"Retry-After": str(shutdown.RETRY_AFTER_SECONDS)},
    )


def status(request: HttpRequest) -> HttpResponse:
    """Version, uptime in seconds, and which providers are configured. No secrets."""
    return _read_only(request) or JsonResponse(
        {
            "status": "ok",
            "version": VERSION,
            "environment": settings.DJANGO_ENV,
            "uptime_seconds": round(time.monotonic() - _started, 1),
            "database": "up" if _answers(_ping_database) else "down",
            "providers": {name: providers.get(name).configured for name in providers.PROVIDERS},
        }
    )


def metrics_page(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, for addresses of the private network only."""
    if refusal := _read_only(request):
        return refusal
    address = ipaddress.ip_address(client_address(request))
    if not (address.is_private or address.is_loopback):
        return problem_response(request, 404, "not_found", "There is nothing at this path.")
    return HttpResponse(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


class SchemaView(SpectacularJSONAPIView):
    """The API's description. Made once a process: it is the same for everyone and takes most of a second."""

    _description: dict[str, Any] | None = None

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if SchemaView._description is None:
            SchemaView._description = super().get(request, *args, **kwargs).data
        return Response(SchemaView._description)


def _read_only(request: HttpRequest) -> HttpResponse | None:
    return None if request.method in {"GET", "HEAD"} else HttpResponseNotAllowed(["GET", "HEAD"])


def _answers(ping) -> bool:
    try:
        ping()
    except (DatabaseError, PyMongoError, RedisError, OSError):
        return False
    return True


def _ping_database() -> None:
    connection.ensure_connection()
    connection.database.command("ping")


def _ping_cache() -> None:
    cache.get("ready")
