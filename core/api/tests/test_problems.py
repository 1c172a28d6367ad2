"""Errors, request ids, limits and log lines that all endpoints share."""

from __future__ import annotations

import logging
import re

import pytest
from django.core.checks import run_checks

from config.checks import DEPLOYMENT
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
def test_an_unknown_path_is_a_problem_and_not_a_redirect(db, client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_a_wrong_method_is_405_with_the_allowed_ones(db, client):
    response = client.delete("/api/auth/login")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in response["Allow"]


def test_a_valid_request_id_is_kept(db, client):
    assert client.get("/health", HTTP_X_REQUEST_ID="order-17.abc")["X-Request-ID"] == "order-17.abc"


@pytest.mark.parametrize("given", ["short", "x" * 129, "with space here", "line\nbreak-here", "ünïcödé-id"])
def test_an_invalid_request_id_is_replaced(db, client, given):
    made = client.get("/health", HTTP_X_REQUEST_ID=given)["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


@pytest.mark.usefixtures("one_window")
def test_the_rate_of_an_endpoint_is_in_its_headers_and_leads_to_429(db, client, settings):
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
def test_secrets_are_redacted_in_log_lines(formatter, secret):
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


def test_passwords_in_urls_and_configured_secrets_are_redacted(settings):
    text = f"mongodb://root:hunter2hunter2@db/x and {settings.SECRET_KEY}"
    assert logs.redact(text) == "mongodb://[redacted]@db/x and [redacted]"


def test_a_request_is_logged_in_one_line(db, client, caplog):
    with caplog.at_level(logging.INFO, "core.requests"):
        client.get("/health", HTTP_X_REQUEST_ID="known-request-id")

    [record] = [r for r in caplog.records if r.name == "core.requests"]
    line = logs.JSONFormatter().format(record)
    for part in ('"request_id": "known-request-id"', '"method": "GET"', '"path": "/health"', '"status": 200'):
        assert part in line
    assert re.search(r'"time": "\d{4}-\d\d-\d\dT[\d:.]+Z"', line)
    assert '"duration_ms"' in line


def test_requests_that_cannot_be_counted_get_503(db, client, settings):
    """Without a counter, requests would be unlimited."""
    unreachable = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    }
    settings.CACHES = {"default": unreachable, "rates": unreachable}
    response = client.post("/api/auth/login", {"email": "a@example.com", "password": "x"}, "application/json")

    assert (response.status_code, response.json()["code"]) == (503, "counter_unavailable")
    assert response["Retry-After"]
    ready = client.get("/ready").json()
    assert ready["checks"] == {"database": True, "cache": False}
    # `check --deploy` says the same.
    found = [message.msg for message in run_checks(tags=[DEPLOYMENT], include_deployment_checks=True)]
    assert ready["problems"] == found == ["The shared cache does not answer. Check REDIS_URL."]


def test_the_log_line_of_a_refused_request_has_the_code_of_its_problem(db, client, caplog):
    with caplog.at_level(logging.INFO, logger="core.requests"):
        client.get("/nothing")
        client.post("/api/auth/login", {"surprise": 1}, "application/json")
    lines = [record for record in caplog.records if record.name == "core.requests"]
    assert [line.code for line in lines] == ["not_found", "invalid"]
