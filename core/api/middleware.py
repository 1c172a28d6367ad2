"""Middleware of every request: id, rate-limit headers, log line; bounds, caching; 503 while draining."""

from __future__ import annotations

import contextlib
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request

from core import logs, metrics, shutdown
from core.api.addresses import client_address
from core.api.errors import problem_response
from core.api.limits import set_rate_limit_headers
from core.api.proxies import PROBES

#: One line per request; named apart from its module so that its level can be set alone.
logger = logging.getLogger("core.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")

#: Longer requests are refused before anything else reads them. A console's cookies need the most.
MAX_TARGET_BYTES = 8 * 1024  # path and query
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS_BYTES = 32 * 1024  # all headers together

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

#: Answers below these paths depend on the caller, whichever header carries its credential.
_API_PATHS = ("/api/", "/v1/")
_CREDENTIAL_HEADERS = ("Authorization", "X-API-Key")

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class IdentifiedRequest(HttpRequest):
    """A request as `RequestContext` passes it on; `log_fields` are added to its log line."""

    id: str
    log_fields: dict[str, object]


def add_log_fields(request: HttpRequest | Request, **fields: str) -> None:
    """Add fields to the log line of `request`. A request without RequestContext has none."""
    getattr(request, "log_fields", {}).update(fields)


class RequestContext:
    """Takes over or generates `X-Request-ID`, echoes it, and logs the request when it is over.

    Authentication and views add to that line with `add_log_fields` (caller, tenant).
    A streamed response is over when its last byte is sent or its client is gone.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: IdentifiedRequest) -> HttpResponseBase:
        began = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        request.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.log_fields = {}
        token = logs.request_id.set(request.id)
        try:
            response = self.get_response(request)
            response["X-Request-ID"] = request.id
            set_rate_limit_headers(request, response)
            if isinstance(response, StreamingHttpResponse) and not response.is_async:
                chunks = cast("Iterable[bytes]", response.streaming_content)  # Not asynchronous, as checked.
                response.streaming_content = self._until_sent(chunks, request, response, began)
            else:
                self._log(request, response, began)
            return response
        finally:
            logs.request_id.reset(token)

    def _until_sent(
        self, chunks: Iterable[bytes], request: IdentifiedRequest, response: HttpResponseBase, began: float
    ) -> Iterator[bytes]:
        # The server may pull chunks from another thread than the one that made the response.
        token = logs.request_id.set(request.id)
        try:
            yield from chunks
        finally:
            # Explicitly: closing a generator does not close a plain iterator that it draws from.
            if hasattr(chunks, "close"):
                chunks.close()
            self._log(request, response, began)
            # When it is closed from another thread, that thread's context never had the id.
            with contextlib.suppress(ValueError):
                logs.request_id.reset(token)

    def _log(self, request: IdentifiedRequest, response: HttpResponseBase, began: float) -> None:
        seconds = time.perf_counter() - began
        route = request.resolver_match.route if request.resolver_match else ""
        metrics.count_request(request.method or "", route, response.status_code, seconds)
        logger.log(
            logging.ERROR if response.status_code >= 500 else logging.INFO,
            "request",
            extra={
                "request_id": request.id,
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "duration_ms": round(seconds * 1000, 1),
                "address": client_address(request),
                **request.log_fields,
            },
        )


class RequestBounds:
    """Refuses a request line or headers that are too long, and methods that HTTP does not define."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in _METHODS:
            allow = {"Allow": ", ".join(_METHODS)}
            return problem_response(request, 405, "method_not_allowed", "There is no such method.", allow)
        if len(request.META["PATH_INFO"]) + len(request.META["QUERY_STRING"]) > MAX_TARGET_BYTES:
            detail = f"Path and query are longer than {MAX_TARGET_BYTES} bytes."
            return problem_response(request, 414, "uri_too_long", detail)
        lengths = [len(value) for name, value in request.META.items() if name.startswith("HTTP_")]
        if max(lengths, default=0) > MAX_HEADER_BYTES or sum(lengths) > MAX_HEADERS_BYTES:
            detail = (
                f"A header is longer than {MAX_HEADER_BYTES} bytes, or all together than {MAX_HEADERS_BYTES}."
            )
            return problem_response(request, 431, "headers_too_large", detail)
        return self.get_response(request)


class CachePolicy:
    """Lets no cache store an answer, unless the answer itself says otherwise, as static files do.

    `Vary` is for those caches that store all the same.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.setdefault("Cache-Control", "no-store")
        if request.path_info.startswith(_API_PATHS):
            patch_vary_headers(response, _CREDENTIAL_HEADERS)
        return response


class RejectWhileDraining:
    """Responds 503 to new requests while the worker is shutting down."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Probes are served until the end, so that monitoring sees the worker drain rather than vanish.
        if not shutdown.is_draining() or request.path_info in PROBES:
            return self.get_response(request)
        headers = {"Retry-After": str(shutdown.RETRY_AFTER_SECONDS)}
        return problem_response(request, 503, "draining", "This server is being stopped. Try again.", headers)
