"""A visitor stays the same visitor: over reloads, another day and another page, until that is revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from chat.erasure import erase_chat, erase_visitor
from chat.models import ChatSession
from chat.turns import access_watch
from chat.visitor_identity import VisitorIdentity
from qa.testing.chat import events
from qa.testing.tenants import by, issue, limited, problem, signed_in, with_key
from qa.testing.waiting import wait_until
from tenants.access.rights import READ_SESSION
from tenants.models import ApiKey, Tenant, Usage

SHOP = "https://shop.example"
SCOPES = ["sessions:read", "sessions:write", "messages:send"]


@pytest.fixture
def page(public_key) -> APIClient:
    return with_key(public_key.secret, HTTP_ORIGIN=SHOP)


@pytest.fixture
def opened(page) -> dict[str, Any]:
    return page.post("/api/chat/sessions", {}).json()


@pytest.fixture
def shop(acme) -> Tenant:
    """Acme, whose pages are those of the shop."""
    acme.update(allowed_origins=[SHOP])
    return acme


@pytest.fixture
def server(shop, alice) -> APIClient:
    """The shop's own server."""
    return with_key(issue(shop, alice, scopes=SCOPES).secret)


def with_token(token: str, origin: str = SHOP) -> APIClient:
    headers = {"HTTP_ORIGIN": origin} if origin else {}
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {token}", **headers)


def given(server: APIClient, tenant: Tenant, visitor: str, **fields: str):
    body = {"visitor": visitor, "origin": SHOP, **fields}
    return server.post(f"/api/chat/tenants/{tenant.pk}/visitor-tokens", body)


def messages(session: dict[str, Any]) -> str:
    return f"/api/chat/sessions/{session['id']}/messages"


def test_a_token_stays_valid_while_it_is_used(fake, opened, settings):
    settings.VISITOR_TOKEN_SECONDS = 3600
    visitor = with_token(opened["visitor_token"])
    now = timezone.now()
    VisitorIdentity.objects.update(expires_at=now + timedelta(hours=1))
    for half_hours in range(1, 8):
        with time_machine.travel(now + timedelta(minutes=30 * half_hours), tick=True):
            assert visitor.post(messages(opened), {"message": "Hello"}).status_code == 201
            in_an_hour = timezone.now() + timedelta(minutes=55)
            kept = VisitorIdentity.objects.filter(expires_at__gt=in_an_hour)
            wait_until(kept.exists, "its use is recorded")  # the request does not wait for that


def test_a_visitor_who_returns_tomorrow_finds_the_conversation(fake, opened):
    with_token(opened["visitor_token"]).post(messages(opened), {"message": "Hello"})
    with time_machine.travel(timezone.now() + timedelta(days=1), tick=True):
        visitor = with_token(opened["visitor_token"])
        [session] = visitor.get("/api/chat/visitor/sessions").json()["results"]
        assert session["id"] == opened["id"]
        assert len(visitor.get(messages(session)).json()["results"]) == 2


def test_a_token_that_was_not_used_for_its_lifetime_ends(opened, settings):
    with time_machine.travel(
        timezone.now() + timedelta(seconds=settings.VISITOR_TOKEN_SECONDS + 1), tick=True
    ):
        visitor = with_token(opened["visitor_token"])
        for response in (visitor.get(messages(opened)), visitor.post("/api/chat/sessions", {})):
            assert problem(response, 401) == "visitor_token_ended"


def test_a_visitor_opens_more_conversations_and_lists_its_own_alone(page, opened):
    visitor = with_token(opened["visitor_token"])
    page.post("/api/chat/sessions", {})
    second = visitor.post("/api/chat/sessions", {"title": "Another"})

    assert second.status_code == 201, second.content
    assert second.json()["visitor"] == opened["visitor"]
    listed = visitor.get("/api/chat/visitor/sessions").json()["results"]
    assert [session["id"] for session in listed] == [second.json()["id"], opened["id"]]
    assert ChatSession.objects.count() == 3
    for session in (opened, second.json()):
        assert visitor.get(f"/api/chat/sessions/{session['id']}").status_code == 200


def test_the_list_shows_a_visitor_no_settings_of_the_tenant(opened):
    ChatSession.objects.update(overrides={"system_prompt": "Be brief."}, metadata={"internal": 1})

    listed = with_token(opened["visitor_token"]).get("/api/chat/visitor/sessions")

    assert "brief" not in listed.content.decode()
    assert "internal" not in listed.content.decode()


def test_a_visitor_opens_none_in_another_tenant(opened, umbrella):
    response = with_token(opened["visitor_token"]).post("/api/chat/sessions", {"tenant_id": str(umbrella.pk)})
    assert problem(response, 404) == "not_found"


@pytest.mark.usefixtures("one_window")
def test_visitors_of_a_network_open_no_more_conversations_than_its_public_key(fake, page, settings):
    settings.RATES = {**settings.RATES, "chat.sessions": "3/m"}
    tokens = [page.post("/api/chat/sessions", {}).json()["visitor_token"] for _ in range(2)]

    statuses = [with_token(token).post("/api/chat/sessions", {}).status_code for token in tokens]

    assert statuses == [201, 429]


def test_a_servers_visitor_is_the_same_in_every_browser(fake, server, shop):
    opened = server.post("/api/chat/sessions", {"visitor": "user-42"}).json()
    first, second = (given(server, shop, "user-42") for _ in range(2))
    assert first.status_code == second.status_code == 201, first.content

    laptop, phone = (with_token(response.json()["visitor_token"]) for response in (first, second))
    assert laptop.post(messages(opened), {"message": "Hello"}).status_code == 201
    assert len(phone.get(messages(opened)).json()["results"]) == 2
    assert phone.get("/api/chat/visitor/sessions").json()["results"][0]["id"] == opened["id"]
    answer = phone.post("/api/chat", {"message": "Hello"}).json()
    assert ChatSession.objects.get(pk=answer["session_id"]).visitor == "user-42"
    assert VisitorIdentity.objects.count() == 1


def test_a_servers_visitor_reaches_no_other_visitor(server, shop):
    bobs = server.post("/api/chat/sessions", {"visitor": "bob"}).json()
    eve = with_token(given(server, shop, "eve").json()["visitor_token"])

    assert problem(eve.get(messages(bobs)), 404) == "not_found"
    assert eve.get("/api/chat/visitor/sessions").json()["results"] == []


def test_a_servers_token_is_for_one_of_the_tenants_origins(server, shop):
    refused = given(server, shop, "bob", origin="https://evil.example")
    assert problem(refused, 400) == "invalid"
    assert refused.json()["errors"][0]["field"] == "origin"

    token = given(server, shop, "bob", origin="HTTPS://Shop.example:443/").json()["visitor_token"]
    assert with_token(token).get("/api/chat/visitor/sessions").status_code == 200
    assert problem(with_token(token, "https://evil.example").get("/api/chat/visitor/sessions"), 401)
    shop.update(allowed_origins=[])
    assert problem(with_token(token).get("/api/chat/visitor/sessions"), 403) == "origin_not_allowed"


def test_an_apps_visitor_has_no_origin(server, shop):
    token = given(server, shop, "bob", origin="").json()["visitor_token"]

    assert with_token(token, "").get("/api/chat/visitor/sessions").status_code == 200
    assert problem(with_token(token).get("/api/chat/visitor/sessions"), 401) == "wrong_origin"


def test_a_key_gives_no_more_rights_than_it_has(shop, alice, server):
    for missing in SCOPES:
        scopes = [scope for scope in SCOPES if scope != missing]
        refused = given(with_key(issue(shop, alice, scopes=scopes).secret), shop, "bob")
        assert problem(refused, 403) == "permission_denied"
    token = given(server, shop, "bob").json()["visitor_token"]
    ApiKey.objects.filter(scopes=SCOPES).update(scopes=["sessions:read", "sessions:write"])

    visitor = with_token(token)
    opened = visitor.post("/api/chat/sessions", {}).json()
    assert problem(visitor.post(messages(opened), {"message": "Hello"}), 403) == "permission_denied"


def test_public_keys_and_members_give_no_tokens(page, dave_client, shop):
    assert problem(given(page, shop, "bob"), 403) == "permission_denied"
    assert problem(given(dave_client, shop, "bob"), 403) == "permission_denied"


@pytest.mark.parametrize(
    "body", [{"visitor": ""}, {}, {"visitor": "b" * 101}, {"visitor": "bob", "name": "B"}]
)
def test_bad_requests_for_a_token_name_the_field(server, shop, body):
    response = server.post(f"/api/chat/tenants/{shop.pk}/visitor-tokens", body)
    assert problem(response, 400) == "invalid"


def test_a_visitors_tokens_can_be_revoked(server, shop, dave_client):
    token, other = (given(server, shop, name).json()["visitor_token"] for name in ("team/bob", "eve"))
    path = f"/api/chat/tenants/{shop.pk}/visitor-tokens/team/bob"

    assert dave_client.delete(path).status_code == 204

    assert problem(with_token(token).get("/api/chat/visitor/sessions"), 401) == "visitor_token_ended"
    assert with_token(other).get("/api/chat/visitor/sessions").status_code == 200
    assert problem(dave_client.delete(path), 404) == "not_found"
    again = given(server, shop, "team/bob").json()["visitor_token"]
    assert with_token(again).get("/api/chat/visitor/sessions").status_code == 200
    assert problem(with_token(token).get("/api/chat/visitor/sessions"), 401) == "visitor_token_ended"


def test_an_expired_identity_is_not_revived_by_a_new_token(server, shop):
    old = given(server, shop, "bob").json()["visitor_token"]
    VisitorIdentity.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    new = given(server, shop, "bob").json()["visitor_token"]

    assert with_token(new).get("/api/chat/visitor/sessions").status_code == 200
    assert problem(with_token(old).get("/api/chat/visitor/sessions"), 401) == "visitor_token_ended"


def test_a_visitor_signs_out(opened):
    visitor = with_token(opened["visitor_token"])
    assert visitor.delete("/api/chat/visitor").status_code == 204
    assert problem(visitor.get(messages(opened)), 401) == "visitor_token_ended"
    assert ChatSession.objects.filter(pk=opened["id"]).exists()


def test_revoking_the_servers_key_ends_the_tokens_it_gave(server, shop, alice):
    token = given(server, shop, "bob").json()["visitor_token"]
    ApiKey.objects.get().revoke(by(alice))
    assert problem(with_token(token).get("/api/chat/visitor/sessions"), 401) == "api_key_invalid"


def test_a_revoked_visitors_open_streams_end(server, shop):
    token = given(server, shop, "bob").json()["visitor_token"]
    other = given(server, shop, "eve").json()["visitor_token"]
    grants = []
    for each in (token, other):
        visitor = with_token(each)
        response = visitor.get("/api/chat/visitor/sessions")
        access = response.renderer_context["view"].access
        grants.append(access_watch.grant(access, READ_SESSION, lambda: None))
    assert access_watch.revoked_among(grants) == []

    with_token(token).delete("/api/chat/visitor")

    assert access_watch.revoked_among(grants) == grants[:1]
    for granted in grants:
        granted.release()


def test_erasing_a_visitor_ends_its_tokens_and_all_its_conversations(fake, server, shop, alice):
    token = given(server, shop, "bob").json()["visitor_token"]
    visitor = with_token(token)
    for _ in range(2):
        visitor.post("/api/chat", {"message": "Hello"})
    others = with_token(given(server, shop, "eve").json()["visitor_token"])
    others.post("/api/chat", {"message": "Hello"})

    manifest = erase_visitor(shop.pk, "bob", by(alice))

    assert manifest.removed["chat_visitoridentity"]["count"] == 1
    assert manifest.removed["chat_chatsession"]["count"] == 2
    assert problem(visitor.post("/api/chat", {"message": "Hello"}), 401) == "visitor_token_ended"
    assert list(ChatSession.objects.values_list("visitor", flat=True)) == ["eve"]


def test_a_visitor_without_conversations_can_be_erased(server, shop, alice):
    given(server, shop, "bob")
    assert signed_in(alice).delete(f"/api/chat/tenants/{shop.pk}/visitors/bob").status_code == 202
    assert not VisitorIdentity.objects.exists()


def test_erasing_all_conversations_ends_all_tokens(opened, acme, umbrella, alice):
    VisitorIdentity.objects.keep(umbrella.pk, "bob", acme.pk, SHOP)
    erase_chat(acme.pk, by(alice))

    assert [identity.tenant_id for identity in VisitorIdentity.objects.all()] == [umbrella.pk]


def test_a_visitor_is_counted_once_however_many_conversations_it_opens(fake, opened, site, acme):
    visitor = with_token(opened["visitor_token"])
    for session in (opened, visitor.post("/api/chat/sessions", {}).json()):
        visitor.post(messages(session), {"message": "Hello"})

    totals = site.get(f"/api/chat/tenants/{acme.pk}/analytics").json()["totals"]

    assert totals["active"]["visitors"] == 1


def test_identities_count_as_kept_bytes(server, shop):
    limited(shop, kept_bytes=3000)
    statuses = [
        given(server, shop, f"visitor-{number}").status_code for number in (1, 2, 2, 3, 4, 5, 6, 7, 8)
    ]

    assert 409 in statuses
    assert VisitorIdentity.objects.count() < 8
    assert Usage.objects.get().kept_bytes <= 3000


def test_a_streamed_first_message_of_a_servers_visitor_opens_one_conversation(fake, server, shop):
    visitor = with_token(given(server, shop, "bob").json()["visitor_token"])
    stream = events(visitor.post("/api/chat", {"message": "Hello", "stream": True}))

    session = {"id": stream[0][2]["session_id"]}
    assert len(visitor.get(messages(session)).json()["results"]) == 2
