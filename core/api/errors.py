"""Error responses: DRF's exception handler and Django's error handlers.

APIException             errors of HTTP itself, most of them DRF's
├── PayloadTooLarge      413
└── UnsupportedCoding    415

Violations of the product's rules are domain errors (`core.errors`), with statuses in `core.api.problems`.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DatabaseError, IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.csrf import csrf_failure as default_csrf_failure
from pymongo.errors import DuplicateKeyError, PyMongoError
from rest_framework import exceptions, status
from rest_framework.response import Response

from core import metrics
from core.api.problems import CONTENT_TYPE, FieldError, ProblemDetails
from core.errors import Conflict, DomainError, Unavailable
from core.mongo.engine.errors import is_full, is_transient, is_unreachable

logger = logging.getLogger(__name__)

#: A body can have ten thousand invalid fields, with names and values of any length.
MAX_FIELD_ERRORS = 50
MAX_ERROR_CHARS = 500


class PayloadTooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "payload_too_large"


class UnsupportedCoding(exceptions.UnsupportedMediaType):
    """The body has a Content-Encoding. RFC 9110, section 15.5.16: Accept-Encoding names what is accepted."""

    headers = {"Accept-Encoding": "identity"}

    def __init__(self, coding: str) -> None:
        super().__init__(coding, f"Send the body without the Content-Encoding {_shortened(coding)!r}.")


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Return the response for any exception of a view. An unexpected one is logged and becomes a 500."""
    request = context["request"]
    problem = _problem(exc)
    if problem is None:
        logger.error("unhandled exception", exc_info=exc, extra={"path": request.path})
        problem = ProblemDetails(500, "server_error", "An unexpected error happened. It has been logged.")
    _record(request, problem.code)
    return Response(
        problem.body(getattr(request, "id", "")),
        status=problem.status,
        headers=problem.headers,
        content_type=CONTENT_TYPE,
    )


def _record(request: Any, code: str) -> None:
    """Count the problem, and add it to the log line of the request, if there is one."""
    metrics.count_refusal(code)
    getattr(request, "log_fields", {})["code"] = code


def _problem(exc: Exception) -> ProblemDetails | None:
    """Return the problem that `exc` means for a client, None for an unexpected error."""
    if isinstance(exc, exceptions.APIException | DomainError):
        return problem_of(exc)
    if isinstance(exc, Http404):
        return problem_of(exceptions.NotFound())
    if isinstance(exc, SuspiciousOperation):  # Such as too many query parameters.
        return problem_of(exceptions.ParseError("The request is malformed.", "bad_request"))
    if isinstance(exc, PermissionDenied):
        return problem_of(exceptions.PermissionDenied())
    if isinstance(exc, DatabaseError | PyMongoError) and is_unreachable(exc):
        logger.error("database unreachable", extra={"reason": type(exc.__cause__ or exc).__name__})
        return problem_of(Unavailable("The database can't be reached right now.", "database_unavailable"))
    if isinstance(exc, DatabaseError | PyMongoError) and is_full(exc):
        logger.error("database full", extra={"reason": type(exc.__cause__ or exc).__name__})
        return problem_of(
            Unavailable("Nothing can be stored right now.", "database_full", retry_after_seconds=60)
        )
    if isinstance(exc, IntegrityError | DuplicateKeyError) or is_transient(exc):
        logger.warning("concurrent writes", exc_info=exc)
        return problem_of(Conflict("Another request has changed the same at this moment. Try again."))
    if isinstance(exc, cache_errors()):
        logger.error("cache unreachable", extra={"reason": type(exc).__name__})
        return problem_of(Unavailable("Requests can't be counted right now.", "counter_unavailable"))
    return None


def cache_errors() -> tuple[type[Exception], ...]:
    """Return the base class of Redis' errors if Redis is used. The import of its client takes 0.1 s."""
    redis = sys.modules.get("redis.exceptions")
    return (redis.RedisError,) if redis else ()


def problem_of(error: exceptions.APIException | DomainError) -> ProblemDetails:
    """Return the problem of an error. An APIException may have `headers`, a dict."""
    if isinstance(error, DomainError):
        return ProblemDetails.of(error)
    rows = list(islice(_flattened(error.detail), MAX_FIELD_ERRORS))
    if isinstance(error, exceptions.ValidationError):
        return ProblemDetails.invalid(rows)
    return ProblemDetails(
        error.status_code,
        rows[0].code if rows else error.default_code,
        rows[0].detail if rows else "",
        headers=_headers(error),
    )


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers | getattr(error, "headers", {})


def _flattened(detail: Any) -> Iterator[FieldError]:
    """Yield the errors in DRF's nested dicts and lists, outer ones first, each with the path of its field."""
    queue: deque[tuple[str | None, Any]] = deque([(None, detail)])
    while queue:
        path, detail = queue.popleft()
        if isinstance(detail, dict):
            queue.extend((_joined(path, name), value) for name, value in detail.items())
        elif isinstance(detail, list):
            for index, item in enumerate(detail):
                is_error = isinstance(item, exceptions.ErrorDetail)
                queue.append((path if is_error else _joined(path, index), item))
        else:
            yield FieldError(_field(path), detail.code, _shortened(str(detail)))


def _joined(path: str | None, part: str | int) -> str:
    return f"{path}.{part}" if path else str(part)


def _field(path: str | None) -> str | None:
    if path is None or path == "non_field_errors":
        return None
    return _shortened(path.removesuffix(".non_field_errors"))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}…"


def problem_response(
    request: HttpRequest, status_code: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> JsonResponse:
    """Return a problem from outside a REST view: unknown paths, middleware."""
    problem = ProblemDetails(status_code, code, detail)
    _record(request, problem.code)
    return JsonResponse(
        problem.body(getattr(request, "id", "")),
        status=status_code,
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 400, "bad_request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 403, "permission_denied", "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return Django's page for a form of the console, a problem for any other path.

    Views that authenticate by a header are exempt; those are views that do not accept the method.
    """
    if request.path_info.startswith("/admin"):
        return default_csrf_failure(request, reason)
    return permission_denied(request, PermissionDenied())


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 404, "not_found", "There is nothing at this path.")


def server_error(request: HttpRequest) -> JsonResponse:
    return problem_response(request, 500, "server_error", "An unexpected error happened. It has been logged.")
