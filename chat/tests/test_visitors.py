"""Visitors of a client's website: a public key opens their session, a visitor token gives access to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from chat.models import ChatSession
from qa.testing.chat import events
from qa.testing.tenants import problem, signed_in, with_key
from tenants.models import ApiKey

SHOP = "https://shop.example"


@pytest.fixture
def page(public_key) -> APIClient:
    """A page of the shop, with the public key in its source."""
    return with_key(public_key.secret, HTTP_ORIGIN=SHOP)


@pytest.fixture
def opened(page) -> dict:
    response = page.post("/api/chat/sessions", {})
    assert response.status_code == 201, response.content
    return response.json()


def visitor(opened: dict, origin: str = SHOP) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {opened['visitor_token']}", HTTP_ORIGIN=origin)


def messages(opened: dict) -> str:
    return f"/api/chat/sessions/{opened['id']}/messages"


def test_a_visitor_sends_and_reads_in_its_own_session(fake, opened):
    me = visitor(opened)
    assert me.post(messages(opened), {"message": "Hello"}).status_code == 201
    assert events(me.post(messages(opened), {"message": "More?", "stream": True}))[-1][0] == "done"
    assert len(me.get(messages(opened)).json()["results"]) == 4
    assert me.get(f"/api/chat/sessions/{opened['id']}").json()["visitor"].startswith("v_")


def test_a_visitor_cannot_choose_its_id(page):
    response = page.post("/api/chat/sessions", {"visitor": "another visitor"})
    assert problem(response, 400) == "invalid"
    assert page.post("/api/chat/sessions", {}).json()["visitor"].startswith("v_")


def test_a_visitor_cannot_reach_another_visitors_session(fake, page, opened):
    other = page.post("/api/chat/sessions", {}).json()
    me = visitor(opened)
    for response in (
        me.get(messages(other)),
        me.post(messages(other), {"message": "Hello"}),
        me.get(f"/api/chat/sessions/{other['id']}"),
        me.post("/api/chat", {"message": "Hello", "session_id": other["id"]}),
    ):
        assert problem(response, 404) == "not_found"


def test_a_repeated_first_message_returns_a_token_for_the_session_it_opened(fake, page):
    key = {"HTTP_IDEMPOTENCY_KEY": "5f0c2a9e-6a0b-4e3d-9d5c-1b2a3c4d5e6f"}
    first, again = (page.post("/api/chat", {"message": "Hello"}, **key).json() for _ in range(2))

    assert again["session_id"] == first["session_id"]
    me = visitor(again)
    assert me.post("/api/chat", {"message": "More?"}).json()["session_id"] == first["session_id"]


def test_a_streamed_first_message_returns_the_token_in_a_header(fake, page, site):
    response = page.post("/api/chat", {"message": "Hello", "stream": True})

    session_id = events(response)[0][2]["session_id"]
    assert "Visitor-Token" in response["Access-Control-Expose-Headers"].title()
    me = visitor({"visitor_token": response["Visitor-Token"]})
    assert me.post("/api/chat", {"message": "More?"}).json()["session_id"] == session_id
    answered = site.post("/api/chat", {"message": "Hello", "stream": True})
    answered.close()
    assert "Visitor-Token" not in answered


def test_idempotency_keys_that_visitors_could_share_by_coincidence_are_refused(fake, page, site):
    for path, body in (("/api/chat", {"message": "Hello"}), ("/api/chat/sessions", {})):
        response = page.post(path, body, HTTP_IDEMPOTENCY_KEY="1")
        assert problem(response, 400) == "invalid"
        assert "16" in response.json()["errors"][0]["detail"]
        assert site.post(path, body, HTTP_IDEMPOTENCY_KEY="1").status_code in (200, 201)


def test_a_public_key_alone_cannot_reach_a_session(fake, page, opened):
    assert problem(page.get(messages(opened)), 404) == "not_found"
    assert problem(page.post(messages(opened), {"message": "Hello"}), 404) == "not_found"
    assert problem(page.get(f"/api/chat/tenants/{opened['tenant_id']}/sessions"), 403)


def test_a_visitor_reaches_only_its_conversation(opened, acme):
    me = visitor(opened)
    session = f"/api/chat/sessions/{opened['id']}"
    assert problem(me.put(session, {"title": "x"}), 403) == "permission_denied"
    assert problem(me.delete(session), 403) == "permission_denied"
    for path in (
        f"/api/tenants/{acme.pk}",
        f"/api/tenants/{acme.pk}/api-keys",
        f"/api/chat/tenants/{acme.pk}/sessions",
        "/api/auth/profile",
        "/api/tenants",
    ):
        assert me.get(path).status_code in (401, 403, 404)


def test_the_token_is_bound_to_its_origin(fake, opened):
    thief = visitor(opened, "https://evil.example")
    assert problem(thief.get(messages(opened)), 401) == "wrong_origin"


def test_the_token_expires(opened, settings, page):
    settings.VISITOR_TOKEN_SECONDS = -1
    late = page.post("/api/chat/sessions", {}).json()
    assert problem(visitor(late).get(messages(late)), 401)


def test_revoking_the_key_invalidates_its_visitors_tokens(opened, acme):
    ApiKey.objects.filter(tenant=acme).update(revoked_at=timezone.now() - timedelta(seconds=1))
    assert problem(visitor(opened).get(messages(opened)), 401) == "api_key_invalid"


def test_visitors_of_a_suspended_tenant_are_refused(opened, acme):
    acme.update(status="suspended")
    assert problem(visitor(opened).get(messages(opened)), 403) == "tenant_suspended"


def test_the_simple_endpoint_works_for_pages(fake, page):
    first = page.post("/api/chat", {"message": "Hello"}).json()
    again = visitor(first).post("/api/chat", {"message": "More?"})
    assert again.status_code == 200, again.content
    assert again.json()["session_id"] == first["session_id"]
    assert "visitor_token" not in again.json()
    assert ChatSession.objects.count() == 1


def test_an_access_token_is_not_a_visitor_token(fake, opened, mallory):
    assert problem(signed_in(mallory).get(messages(opened)), 404) == "not_found"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "cap_pk_live_x"])
def test_malformed_tokens_are_401(opened, token):
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_ORIGIN=SHOP)
    assert problem(client.get(messages(opened)), 401)
