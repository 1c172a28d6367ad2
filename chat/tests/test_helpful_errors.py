"""Errors of requests: the field that is wrong, the values that it takes, and what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.tokens import AccessToken
from qa.testing.tenants import issue, signed_in


def errors(response: Any) -> dict[str, str]:
    """Return what is wrong with each field."""
    assert response.status_code == 400, response.content
    return {error["field"]: error["detail"] for error in response.json()["errors"]}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("content", "message"),
        ("text", "message"),
        ("prompt", "message"),
        ("mesage", "message"),
        ("Message", "message"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("max_completion_tokens", "max_tokens"),
        ("temprature", "temperature"),
        ("streaming", "stream"),
        ("meta_data", "metadata"),
    ],
)
def test_a_field_that_was_probably_meant_is_named(dave_client, session, sent, meant):
    response = dave_client.post(f"/api/chat/sessions/{session.pk}/messages", {sent: "Hello"})
    assert errors(response) == {sent: f"There is no such field. Did you mean {meant}?"}


@pytest.mark.parametrize("sent", ["surprise", "x" * 100_000, "", "€", "__proto__", "a" * 41])
def test_nothing_is_made_up_for_other_names(dave_client, session, sent):
    response = dave_client.post(f"/api/chat/sessions/{session.pk}/messages", {sent: "Hello"})
    assert [*errors(response).values()] == ["There is no such field."]


@pytest.mark.parametrize(
    ("path", "sent", "meant"),
    [
        ("/api/chat", "sessionId", "session_id"),
        ("/api/chat/sessions", "system", "system_prompt"),
        ("/api/chat/sessions", "instructions", "system_prompt"),
        ("/api/chat/sessions", "user_id", "visitor"),
    ],
)
def test_fields_of_sessions_are_named(site, path, sent, meant):
    response = site.post(path, {sent: "Hello"})
    assert errors(response)[sent] == f"There is no such field. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"provider": "nosuch"}, "provider", "known are groq, gemini, openrouter"),
        ({"provider": "nosuch", "model": "some-model"}, "provider", "known are groq, gemini, openrouter"),
        ({"model": "nosuch/model"}, "model", "known are groq, gemini, openrouter"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stream": 1}, "stream", "true or false"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 2**63 - 1}, "max_tokens", "less than or equal to 1000000"),
    ],
)
def test_the_field_at_fault_and_what_it_takes_are_named(fake, dave_client, session, body, field, says):
    response = dave_client.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hi", **body})
    found = errors(response)
    assert [*found] == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "listed"),
    [
        ("post", "members", {"user": "0" * 24, "role": "owner"}, "role", "admin, developer, viewer"),
        (
            "post",
            "invitations",
            {"email": "a@example.com", "role": "boss"},
            "role",
            "admin, developer, viewer",
        ),
        ("post", "api-keys", {"name": "x", "kind": "public"}, "kind", "sk, pk"),
        ("post", "api-keys", {"name": "x", "environment": "prod"}, "environment", "live, test"),
        ("post", "api-keys", {"name": "x", "scopes": ["all"]}, "scopes.0", "messages:send"),
        ("put", "", {"settings": {"visitor_fields": ["all"]}}, "settings.visitor_fields.0", "system_prompt"),
    ],
)
def test_the_values_of_a_choice_are_listed(alice, acme, method, path, body, field, listed):
    url = f"/api/tenants/{acme.pk}/{path}".rstrip("/")
    found = errors(getattr(signed_in(alice), method)(url, body))
    assert "is not a valid choice. Choose one of: " in found[field]
    assert listed in found[field]


@pytest.mark.parametrize(("query", "listed"), [("status=open", "active"), ("status=", None)])
def test_the_values_of_a_filter_are_listed(alice, acme, query, listed):
    response = signed_in(alice).get(f"/api/chat/tenants/{acme.pk}/sessions?{query}")
    if listed is None:
        assert response.status_code == 200
    else:
        assert errors(response)["status"].startswith("Choose one of: ")
        assert listed in errors(response)["status"]


def test_a_key_sent_as_a_token_is_recognised_on_every_route(acme, alice, session):
    key = issue(acme, alice).secret
    for header in (f"Bearer {key}", key, "Bearer cap_sk_live_mistyped"):
        client = APIClient(HTTP_AUTHORIZATION=header)
        for response in (
            client.post("/api/chat", {"message": "Hi"}),
            client.post("/api/chat/sessions", {}),
            client.get(f"/api/chat/sessions/{session.pk}/messages"),
            client.get(f"/api/tenants/{acme.pk}"),
            client.get("/api/tenants"),
            client.get("/api/auth/profile"),
        ):
            assert (response.status_code, response.json()["code"]) == (401, "key_in_wrong_header")
            assert "X-API-Key" in response.json()["detail"]
            assert "WWW-Authenticate" in response


def test_a_token_sent_as_a_key_is_recognised(acme, alice):
    token = str(AccessToken.of_session(alice.pk, "s"))
    for value in (token, f"Bearer {issue(acme, alice).secret}"):
        response = APIClient(HTTP_X_API_KEY=value).post("/api/chat/sessions", {})
        assert (response.status_code, response.json()["code"]) == (401, "token_in_wrong_header")


def test_completions_take_a_key_in_either_header(fake, acme, alice):
    key = issue(acme, alice, scopes=["messages:send"]).secret
    body = {"model": "groq", "messages": [{"role": "user", "content": "Hi"}]}
    for headers in ({"HTTP_AUTHORIZATION": f"Bearer {key}"}, {"HTTP_X_API_KEY": key}):
        response = APIClient(**headers).post("/v1/chat/completions", body)
        assert response.status_code == 200, response.content
