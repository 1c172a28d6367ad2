"""What is not there, and methods that a path does not have, are errors in the form of their API."""

from __future__ import annotations

import pytest
import requests

from qa.testing.tenants import issue

#: As pages and clients send them: none of them may make a request one that needs Django's CSRF token.
HEADERS = {
    "Cookie": "csrftoken=x; sessionid=y",
    "Origin": "https://shop.example",
    "Referer": "https://a.example/",
}


def call(server, method: str, path: str, **headers: str) -> requests.Response:
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    headers = HEADERS | {"Content-Type": "application/json"} | headers
    return requests.request(
        method, server.url + path, headers=headers, data=body, timeout=60, allow_redirects=False
    )


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/chat/completions/",
        "/v1/chat/completions/chatcmpl-1",
        "/v1/completions",
        "/v1/v1/chat/completions",
        "/v1/audio/transcriptions?x=1",
        "/v1/models/",
    ],
)
def test_the_rest_of_openais_api_is_not_found(openai_server, method, path):
    response = call(openai_server, method, path)

    assert response.status_code == 404, response.text
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("not_found_error", "not_found")
    assert "/v1/chat/completions" in error["message"]
    assert response.headers["X-Request-ID"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_other_methods_of_openais_paths_are_not_allowed(openai_server, openai_key, method):
    response = call(
        openai_server, method, "/v1/chat/completions", Authorization=f"Bearer {openai_key}", Origin=""
    )

    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 405),
        ("/ready", 405),
        ("/status", 405),
        ("/metrics", 405),
        ("/api/docs", 405),
        ("/api/schema", 405),
        ("/", 404),
        ("/api", 404),
        ("/api/chat/", 404),
        ("/chat/completions", 404),
        ("/v2/chat/completions", 404),
        ("/static/nothing.js", 404),
    ],
)
def test_other_paths_and_methods_are_problems(openai_server, method, path, status):
    response = call(openai_server, method, path)

    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == {404: "not_found", 405: "method_not_allowed"}[status]


def test_a_form_of_the_console_without_a_token_keeps_its_page(openai_server):
    response = call(
        openai_server, "POST", "/admin/login/", **{"Content-Type": "application/x-www-form-urlencoded"}
    )

    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("origin", ["app://obsidian.md", "null", "https://desk.example"])
def test_a_desktop_app_uses_a_key_that_allows_browsers(openai_server, fake, acme, alice, origin):
    def models(**fields: bool) -> requests.Response:
        key = issue(acme, alice, scopes=["messages:send"], **fields).secret
        return call(openai_server, "GET", "/v1/models", Authorization=f"Bearer {key}", Origin=origin)

    refused, accepted = models(), models(allow_browser=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "secret_key_in_browser")
    assert "allow_browser" in refused.json()["error"]["message"]
    assert accepted.status_code == 200
    assert accepted.headers["Access-Control-Allow-Origin"] == "*"
