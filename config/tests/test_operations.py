"""/health, /ready, /status, /metrics, /api/schema and /api/docs."""

from __future__ import annotations

import json

import pytest
from django.test import Client


def test_health_does_not_query_the_database(client):
    """No database fixture: a query would fail this test."""
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_lists_its_checks(db, client):
    response = client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")
    assert response.json()["checks"] == {"database": True, "cache": True}
    assert response.json()["problems"] == []


def test_status_lists_providers_without_secrets(db, client, settings):
    settings.LLM_PROVIDERS = {
        **settings.LLM_PROVIDERS,
        "groq": {"api_key": "a-secret-of-groq", "base_url": "http://127.0.0.1:1", "model": "m"},
    }
    response = client.get("/status")
    assert response.json()["providers"]["groq"] is True
    assert response.json()["database"] == "up"
    text = response.content.decode()
    assert "a-secret-of-groq" not in text
    assert settings.SECRET_KEY not in text


def test_metrics_count_requests_by_route(db, client):
    client.get("/health")
    text = client.get("/metrics").content.decode()
    assert 'http_requests_total{method="GET",route="health",status="200"}' in text


def test_invented_methods_are_one_series(db, client):
    for number in range(5):
        client.generic(f"INVENTED{number}", "/health")

    text = client.get("/metrics").content.decode()

    # Refused before a route is looked up.
    assert 'http_requests_total{method="other",route="",status="405"}' in text
    assert "INVENTED" not in text


def test_metrics_are_only_for_private_networks(db, client):
    assert client.get("/metrics", REMOTE_ADDR="8.8.8.8").status_code == 404


@pytest.mark.parametrize("path", ["/health", "/ready", "/status", "/metrics"])
def test_operations_are_read_only(db, path):
    response = Client(enforce_csrf_checks=True).post(path)
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


def test_the_schema_has_every_path_of_the_api(db, client):
    schema = json.loads(client.get("/api/schema").content)
    for path in (
        "/api/auth/login",
        "/api/tenants/{tenant_id}/api-keys/{key_id}",
        "/api/chat/sessions/{session_id}/messages",
        "/api/chat/tenants/{tenant_id}/analytics",
        "/api/llm/providers",
        "/v1/chat/completions",
    ):
        assert path in schema["paths"], sorted(schema["paths"])


def test_the_documentation_has_no_inline_scripts(db, client):
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/health", "/api/tenants", "/api/nothing", "/api/schema"])
def test_data_may_load_nothing(db, client, path):
    assert client.get(path)["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_pages_load_only_from_this_server(db, client):
    policy = client.get("/admin/login/")["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
