"""Requests that are too long or of an invented method, and answers that no cache may store."""

from __future__ import annotations

import pytest

from core.api.middleware import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from qa.testing.tenants import problem


@pytest.mark.parametrize(
    "target", ["/health?" + "a" * MAX_TARGET_BYTES, "/" + "-eyJ" * 15_000, "/api/tenants?" + "a&" * 16_000]
)
def test_a_long_path_or_query_is_414(client, target):
    """Without the database: nothing reads it."""
    assert problem(client.get(target), 414) == "uri_too_long"


@pytest.mark.parametrize(
    "header", ["X-API-Key", "Authorization", "Cookie", "X-Forwarded-For", "If-Match", "X-Any"]
)
def test_a_long_header_is_431(client, header):
    response = client.get("/api/tenants", headers={header: "a" * (MAX_HEADER_BYTES + 1)})
    assert problem(response, 431) == "headers_too_large"


def test_many_headers_are_431(client):
    headers = {f"X-Header-{number}": "a" * MAX_HEADER_BYTES for number in range(3)}
    assert problem(client.get("/api/tenants", headers=headers), 431) == "headers_too_large"


def test_the_longest_headers_pass(client):
    headers = {"X-First": "a" * MAX_HEADER_BYTES, "X-Second": "a" * (MAX_HEADER_BYTES - 200)}
    assert client.get("/health?" + "a" * (MAX_TARGET_BYTES - 100), headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["M1", "TRACE", "CONNECT", "x" * 10_000])
def test_other_methods_are_405(client, method):
    response = client.generic(method, "/api/tenants")
    assert problem(response, 405) == "method_not_allowed"
    assert "POST" in response["Allow"]


def test_too_many_query_parameters_are_malformed(db, site, acme):
    response = site.get(f"/api/chat/tenants/{acme.pk}/sessions?" + "a&" * 2_000)
    assert problem(response, 400) == "bad_request"


@pytest.mark.parametrize(
    "path", ["/", "/health", "/status", "/metrics", "/admin/login/", "/api/nothing", "/v1/files"]
)
def test_no_cache_stores_an_answer(db, client, path):
    response = client.get(path, headers={"X-API-Key": "wrong"})
    assert "no-store" in response["Cache-Control"]
    if path.startswith(("/api", "/v1")):
        assert {"Authorization", "X-API-Key"} <= set(response["Vary"].split(", "))


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/status", "/metrics", "/admin/", "/admin/login/"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_pages_of_other_origins_read_the_api_alone(db, client, settings, path, method):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    assert "Access-Control-Allow-Origin" not in client.generic(method, path, headers=headers)
    assert client.generic(method, "/api/tenants", headers=headers)["Access-Control-Allow-Origin"] == "*"
