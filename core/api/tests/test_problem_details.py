"""Which problem each kind of error becomes, without a request."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, IntegrityError
from django.test import RequestFactory
from pymongo.errors import DuplicateKeyError, OperationFailure
from rest_framework import exceptions

from core import errors
from core.api.errors import exception_handler, problem_of


class SeatsTaken(errors.Conflict):
    default_code = "seats_taken"
    default_detail = "All seats are taken."


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Forbidden(), 403, "permission_denied"),
        (errors.NotFound(), 404, "not_found"),
        (SeatsTaken(), 409, "seats_taken"),
        (errors.Gone(), 410, "gone"),
        (errors.PreconditionFailed(), 412, "precondition_failed"),
        (errors.Unprocessable(code="too_long"), 422, "too_long"),
        (errors.LimitReached(), 429, "rate_limited"),
        (errors.UpstreamFailed(), 502, "provider_failed"),
        (errors.Unavailable(), 503, "unavailable"),
    ],
)
def test_a_domain_error_has_the_status_of_its_class_or_parent(error, status, code):
    problem = problem_of(error)
    assert (problem.status, problem.code, problem.detail) == (status, code, error.detail)


def test_retry_after_is_set_only_where_waiting_helps():
    assert problem_of(errors.Unavailable(retry_after_seconds=60)).headers == {"Retry-After": "60"}
    assert problem_of(errors.Conflict()).headers == {}


def test_extra_members_are_part_of_the_body():
    body = problem_of(errors.Conflict(extra={"reply_id": "1"})).body("some-request")
    assert (body["reply_id"], body["request_id"], body["title"]) == ("1", "some-request", "Conflict")


def test_invalid_input_lists_its_fields():
    body = problem_of(errors.InvalidInput({"route": ["Unknown.", "Too long."]}, "unknown")).body("")
    assert (body["status"], body["code"], body["detail"]) == (400, "invalid", "route: Unknown.")
    assert body["errors"] == [
        {"field": "route", "code": "unknown", "detail": "Unknown."},
        {"field": "route", "code": "unknown", "detail": "Too long."},
    ]


def test_nested_errors_of_a_serializer_are_flattened_outer_ones_first():
    error = exceptions.ValidationError(
        {
            "settings": {"route": {1: ["Unknown."]}, "non_field_errors": ["Contradictory."]},
            "items": [{}, {"name": ["Required."]}],
            "non_field_errors": ["Incomplete."],
        }
    )
    assert [(row.field, row.detail) for row in problem_of(error).errors] == [
        (None, "Incomplete."),
        ("settings", "Contradictory."),
        ("settings.route.1", "Unknown."),
        ("items.1.name", "Required."),
    ]


def test_an_http_error_has_its_headers():
    error = exceptions.Throttled(wait=7)
    error.auth_header = "Bearer"
    assert problem_of(error).headers == {"WWW-Authenticate": "Bearer", "Retry-After": "7"}


def aborted() -> DatabaseError:
    """Return the error of a transaction that conflicts with another one, as the ORM raises it."""
    error = DatabaseError()
    error.__cause__ = OperationFailure("conflict", 112, {"errorLabels": ["TransientTransactionError"]})
    return error


@pytest.mark.parametrize(
    "error", [IntegrityError(), DuplicateKeyError("dup"), aborted(), aborted().__cause__]
)
def test_writes_that_conflict_are_a_409(error):
    response = exception_handler(error, {"request": RequestFactory().get("/")})

    assert (response.status_code, response.data["code"]) == (409, "conflict")
