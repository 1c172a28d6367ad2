"""Endpoints for operators: health, readiness, status, metrics and the OpenAPI schema."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView
from pymongo.errors import PyMongoError
from rest_framework.request import Request
from rest_framework.response import Response

from core import metrics, shutdown
from core.api.addresses import comes_from_private_network
from core.api.errors import cache_errors, problem_response
from core.api.proxies import is_forwarded
from core.mongo.database import database
from core.stores import State, problems, states
from llm import providers

VERSION = settings.SPECTACULAR_SETTINGS["VERSION"]

_started = time.monotonic()


def health(request: HttpRequest) -> HttpResponse:
    """Liveness: 200 while this process responds. Checks nothing else."""
    return _method_not_allowed(request) or JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """Readiness: 200 if database and counters can be written, which all requests need, else 503.

    `stores` has the state of every store: ok, full, read-only, unsuitable or unavailable. `problems`
    says what the operator has to do. The status of a worker that is shutting down is "draining".
    """
    if response := _method_not_allowed(request):
        return response
    stores = states()
    checks = {"database": stores["database"] == State.OK, "cache": stores["counters"] == State.OK}
    body = {"checks": checks, "stores": stores, "problems": problems()}
    draining = shutdown.is_draining()
    if all(checks.values()) and not draining:
        return JsonResponse({"status": "ready", **body})
    return JsonResponse(
        {"status": "draining" if draining else "unavailable", **body},
        status=503,
        headers={"Retry-After": str(shutdown.RETRY_AFTER_SECONDS)},
    )


def status(request: HttpRequest) -> HttpResponse:
    """Version, uptime in seconds, and which providers are configured. No secrets."""
    return _method_not_allowed(request) or JsonResponse(
        {
            "status": "ok",
            "version": VERSION,
            "environment": settings.DJANGO_ENV,
            "uptime_seconds": round(time.monotonic() - _started, 1),
            "database": "up" if _responds(_ping_database) else "down",
            "providers": {name: providers.get(name).configured for name in providers.PROVIDERS},
        }
    )


def prometheus_metrics(request: HttpRequest) -> HttpResponse:
    """Metrics of all workers, for Prometheus; 404 through a proxy, and outside of private networks."""
    if response := _method_not_allowed(request):
        return response
    # Behind a proxy, a client of the internet comes from a private address, too.
    if is_forwarded(request) or not comes_from_private_network(request):
        return problem_response(request, 404, "not_found", "There is nothing at this path.")
    return HttpResponse(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI schema, generated once per process: it is the same for all, and takes most of a second."""

    _schema: Any = None

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if SchemaView._schema is None:
            response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]  # upstream's
            SchemaView._schema = response.data
        return Response(SchemaView._schema)


def read_only(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return the view for GET and HEAD only. Its own answer to other methods may be a page."""

    @csrf_exempt
    def only_read(request: HttpRequest) -> HttpResponseBase:
        return _method_not_allowed(request) or view(request)

    return only_read


def _method_not_allowed(request: HttpRequest) -> HttpResponse | None:
    if request.method in {"GET", "HEAD"}:
        return None
    detail = f"{request.path_info} has no method {request.method}."
    return problem_response(request, 405, "method_not_allowed", detail, {"Allow": "GET, HEAD"})


def _responds(ping: Callable[[], object]) -> bool:
    try:
        ping()
    except Exception as error:  # The errors of the cache are known only once it is configured.
        if isinstance(error, (DatabaseError, PyMongoError, OSError, *cache_errors())):
            return False
        raise
    return True


def _ping_database() -> None:
    database().command("ping")
