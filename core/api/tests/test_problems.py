"""Errors, ids and limits as every endpoint tells them."""

from __future__ import annotations

import logging
import re

import pytest

from core import logs


def test_a_problem_has_every_member(db, client):
    response = client.post("/api/auth/login", {"surprise": 1}, "application/json")

    problem = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "code", "detail", "errors", "request_id"}
    assert (problem["status"], problem["title"], problem["code"]) == (400, "Bad Request", "invalid")
    assert problem["type"] == "urn:chat-agent:problem:invalid"
    assert {"field": "surprise", "code": "unknown_field", "detail": "There is no such field."} in problem[
        "errors"
    ]
    assert problem["request_id"] == response["X-Request-ID"]


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api/auth/login/", "/api/tenants/"])
def test_unknown_paths_are_problems_and_never_redirects(db, client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_a_wrong_method_is_405_and_says_which_are_right(db, client):
    response = client.delete("/api/auth/login")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in response["Allow"]


def test_a_good_request_id_is_taken_over(db, client):
    assert client.get("/health", HTTP_X_REQUEST_ID="order-17.abc")["X-Request-ID"] == "order-17.abc"


@pytest.mark.parametrize("given", ["short", "x" * 129, "with space here", "line\nbreak-here", "ünïcödé-id"])
def test_a_bad_request_id_is_replaced(db, client, given):
    made = client.get("/health", HTTP_X_REQUEST_ID=given)["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_the_endpoints_rate_stands_on_its_answers_and_ends_in_a_429(db, client, settings):
    settings.RATES = {**settings.RATES, "auth.login": "2/m"}
    body = {"email": "a@example.com", "password": "wrong"}

    answers = [client.post("/api/auth/login", body, "application/json") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[0]["RateLimit-Policy"] == '"auth.login";q=2;w=60'
    assert re.fullmatch(r'"auth.login";r=1;t=\d+', answers[0]["RateLimit"])
    assert (answers[1]["X-RateLimit-Limit"], answers[1]["X-RateLimit-Remaining"]) == ("2", "0")
    refusal = answers[2].json()
    assert refusal["code"] == "rate_limited"
    assert refusal["limit"]["name"] == "auth.login"
    assert refusal["limit"]["used"] == 3
    assert 1 <= int(answers[2]["Retry-After"]) <= 60


@pytest.mark.parametrize(
    "secret",
    [
        "cap_sk_live_" + "a1B2" * 9 + "zz",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk",
        "gsk_abcdefghijklmnopqrstuvwx",
        "sk-or-v1-0123456789abcdef",
        "AIzaSyA0123456789abcdefghij",
    ],
)
@pytest.mark.parametrize("formatter", [logs.JSONFormatter(), logs.ConsoleFormatter()])
def test_no_secret_reaches_a_log_line(formatter, secret):
    try:
        raise ValueError(f"refused {secret}")
    except ValueError as error:
        record = logging.LogRecord(
            "chat", logging.ERROR, "", 0, "key %s", (secret,), (type(error), error, error.__traceback__)
        )
    record.header = f"Bearer {secret}"

    line = formatter.format(record)

    assert secret not in line
    assert line.count("[redacted]") >= 3


def test_passwords_in_urls_and_configured_secrets_stay_out_too(settings):
    text = f"mongodb://root:hunter2hunter2@db/x and {settings.SECRET_KEY}"
    assert logs.redact(text) == "mongodb://[redacted]@db/x and [redacted]"


def test_a_request_is_one_line_with_caller_and_duration(db, client, caplog):
    with caplog.at_level(logging.INFO, "core.requests"):
        client.get("/health", HTTP_X_REQUEST_ID="known-request-id")

    [record] = [r for r in caplog.records if r.name == "core.requests"]
    line = logs.JSONFormatter().format(record)
    for part in ('"request_id": "known-request-id"', '"method": "GET"', '"path": "/health"', '"status": 200'):
        assert part in line
    assert re.search(r'"time": "\d{4}-\d\d-\d\dT[\d:.]+Z"', line)
    assert '"duration_ms"' in line


def test_requests_that_cannot_be_counted_are_refused(db, client, settings):
    """An open door is worse than a closed one."""
    unreachable = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    }
    settings.CACHES = {"default": unreachable, "rates": unreachable}
    response = client.post("/api/auth/login", {"email": "a@example.com", "password": "x"}, "application/json")

    assert (response.status_code, response.json()["code"]) == (503, "counter_unavailable")
    assert response["Retry-After"]
    assert client.get("/ready").json()["checks"] == {"database": True, "cache": False}
