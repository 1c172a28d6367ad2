"""Every error of the API as `application/problem+json` (RFC 9457), with DRF's `detail` kept.

    {"type", "title", "status", "code", "detail", "errors": [{"field", "code", "detail"}], "request_id"}

`code` is stable: clients decide by it. Nothing here shows a trace, a
provider's words or a secret.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, JsonResponse
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from rest_framework import exceptions, status
from rest_framework.response import Response

from core import errors
from core.mongo.engine.errors import is_unreachable

logger = logging.getLogger("core.errors")

CONTENT_TYPE = "application/problem+json"


class Problem(exceptions.APIException):
    """An error with extra members for its body and extra headers for its answer."""

    def __init__(
        self,
        detail: Any = None,
        code: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.headers = headers or {}
        self.extra = extra or {}


class Conflict(Problem):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "The request conflicts with the present state."
    default_code = "conflict"


class PreconditionFailed(Problem):
    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "The resource has changed since it was read. Read it again."
    default_code = "precondition_failed"


class PayloadTooLarge(Problem):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."
    default_code = "payload_too_large"


class UnprocessableEntity(Problem):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = "The request can't be processed."
    default_code = "unprocessable"


class BadGateway(Problem):
    status_code = status.HTTP_502_BAD_GATEWAY
    default_detail = "The provider did not give an answer."
    default_code = "provider_failed"


class Unavailable(Problem):
    """503 with Retry-After, in seconds."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The service is not available right now. Try again shortly."
    default_code = "unavailable"

    def __init__(self, detail: Any = None, code: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(detail, code, headers={"Retry-After": str(retry_after)})


#: The status of each domain error; of a subclass its nearest parent's.
STATUSES: dict[type[errors.DomainError], int] = {
    errors.InvalidInput: status.HTTP_400_BAD_REQUEST,
    errors.Forbidden: status.HTTP_403_FORBIDDEN,
    errors.NotFound: status.HTTP_404_NOT_FOUND,
    errors.Conflict: status.HTTP_409_CONFLICT,
    errors.Gone: status.HTTP_410_GONE,
    errors.Unprocessable: status.HTTP_422_UNPROCESSABLE_ENTITY,
    errors.LimitReached: status.HTTP_429_TOO_MANY_REQUESTS,
    errors.UpstreamFailed: status.HTTP_502_BAD_GATEWAY,
    errors.Unavailable: status.HTTP_503_SERVICE_UNAVAILABLE,
}


def from_domain_error(error: errors.DomainError) -> exceptions.APIException:
    """Return the API's form of a domain error. Every class has one by its parents."""
    if isinstance(error, errors.InvalidInput):
        return exceptions.ValidationError(error.fields, error.code)
    wait = error.retry_after_seconds
    headers = {} if wait is None else {"Retry-After": str(wait)}
    answer = Problem(error.detail, error.code, headers=headers, extra=error.extra)
    answer.status_code = next(STATUSES[parent] for parent in type(error).__mro__ if parent in STATUSES)
    return answer


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Answer any exception of a view; what is not an API error is logged and becomes a bare 500."""
    request = context["request"]
    error = _as_api_exception(exc)
    if error is None:
        logger.error("unhandled exception", exc_info=exc, extra={"path": request.path})
        error = exceptions.APIException("An unexpected error happened. It has been logged.", "server_error")
    response = Response(
        problem(error, getattr(request, "id", "")), status=error.status_code, content_type=CONTENT_TYPE
    )
    if challenge := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(int(wait))
    for name, value in getattr(error, "headers", {}).items():
        response[name] = value
    return response


def _as_api_exception(exc: Exception) -> exceptions.APIException | None:
    if isinstance(exc, exceptions.APIException):
        return exc
    if isinstance(exc, errors.DomainError):
        return from_domain_error(exc)
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(exc, DatabaseError | PyMongoError) and is_unreachable(exc):
        logger.error("database unreachable", extra={"reason": type(exc.__cause__ or exc).__name__})
        return Unavailable("The database can't be reached right now.", "database_unavailable")
    if isinstance(exc, RedisError):
        logger.error("cache unreachable", extra={"reason": type(exc).__name__})
        return Unavailable("Requests can't be counted right now.", "counter_unavailable")
    return None


def problem(error: exceptions.APIException, request_id: str) -> dict[str, Any]:
    """Return the problem object of an API error."""
    # Not at the top: it imports DRF's views, whose settings import the parser, which imports this module.
    from drf_standardized_errors.formatter import flatten_errors

    rows = flatten_errors(error.detail)
    invalid = isinstance(error, exceptions.ValidationError)
    code = "invalid" if invalid else rows[0].code if rows else error.default_code
    return {
        "type": f"urn:chat-agent:problem:{code}",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "code": code,
        "detail": _sentence(rows, invalid),
        "errors": [
            {"field": _field(row.attr), "code": row.code, "detail": row.detail} for row in rows if invalid
        ],
        "request_id": request_id,
        **getattr(error, "extra", {}),
    }


def _sentence(rows: list, invalid: bool) -> str:
    if not rows:
        return ""
    first = rows[0]
    field = _field(first.attr)
    return f"{field}: {first.detail}" if invalid and field else first.detail


def _field(attr: str | None) -> str | None:
    return None if attr in (None, "non_field_errors") else attr.removesuffix(".non_field_errors")


def problem_response(
    request: HttpRequest, status_code: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> JsonResponse:
    """Return a problem from outside a REST view: unknown paths, middleware, failed start."""
    error = exceptions.APIException(detail, code)
    error.status_code = status_code
    return JsonResponse(
        problem(error, getattr(request, "id", "")),
        status=status_code,
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 400, "bad_request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 403, "permission_denied", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return problem_response(request, 404, "not_found", "There is nothing at this path.")


def server_error(request: HttpRequest) -> JsonResponse:
    return problem_response(request, 500, "server_error", "An unexpected error happened. It has been logged.")
