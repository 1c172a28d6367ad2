"""What a browser credential may set, and what a visitor reads of a reply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from chat.serializers import NewMessageSerializer, NewSessionSerializer
from qa.testing.chat import events
from qa.testing.tenants import limited, problem, signed_in, with_key
from tenants.models.tenant import VisitorField

SHOP = "https://shop.example"

SESSION_FIELDS = {
    "system_prompt": "You are a general assistant.",
    "route": ["openrouter/another-model"],
    "temperature": 2,
    "max_tokens": 9000,
    "metadata": {"plan": "gold"},
    "visitor": "bob",
}

MESSAGE_FIELDS = {
    "provider": "openrouter",
    "model": "openrouter/another-model",
    "temperature": 2,
    "max_tokens": 9000,
    "metadata": {"plan": "gold"},
    "concurrent": True,
}


@pytest.fixture
def page(public_key) -> APIClient:
    return with_key(public_key.secret, HTTP_ORIGIN=SHOP)


@pytest.fixture
def opened(page) -> dict[str, Any]:
    return page.post("/api/chat/sessions", {"title": "Help"}).json()


@pytest.fixture
def visitor(opened) -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {opened['visitor_token']}", HTTP_ORIGIN=SHOP)


def messages(opened: dict[str, Any]) -> str:
    return f"/api/chat/sessions/{opened['id']}/messages"


def refused_fields(response: Any) -> list[str]:
    assert problem(response, 400) == "invalid"
    errors = response.json()["errors"]
    assert {error["code"] for error in errors} == {"not_for_visitors"}
    return [error["field"] for error in errors]


@pytest.mark.parametrize("field", SESSION_FIELDS)
def test_a_public_key_opens_a_session_without_settings_of_its_own(page, field):
    assert refused_fields(page.post("/api/chat/sessions", {field: SESSION_FIELDS[field]})) == [field]
    assert not ChatSession.objects.exists()


@pytest.mark.parametrize("field", MESSAGE_FIELDS)
def test_a_visitor_sends_words_alone(fake, visitor, opened, field):
    response = visitor.post(messages(opened), {"message": "Hello", field: MESSAGE_FIELDS[field]})

    assert refused_fields(response) == [field]
    assert not Message.objects.exists()


def test_every_option_of_a_session_or_message_is_words_or_refused():
    """A new option must be added to one of the two tables, or it would be open to every visitor."""
    assert set(NewSessionSerializer().fields) == {*SESSION_FIELDS, "title", "tenant_id"}
    assert set(NewMessageSerializer().fields) == {*MESSAGE_FIELDS, "message", "stream"}
    assert set(VisitorField.values) == {*SESSION_FIELDS, *MESSAGE_FIELDS} - {"visitor"}


def test_an_admin_of_the_tenant_allows_single_fields(fake, page, visitor, opened, acme, alice):
    path = f"/api/tenants/{acme.pk}"
    settings = signed_in(alice).patch(path, {"settings": {"visitor_fields": ["temperature"]}})
    assert settings.json()["settings"]["visitor_fields"] == ["temperature"]

    assert page.post("/api/chat/sessions", {"temperature": 0.5}).status_code == 201
    assert visitor.post(messages(opened), {"message": "Hello", "temperature": 0.5}).status_code == 201
    assert refused_fields(page.post("/api/chat/sessions", {"max_tokens": 5, "temperature": 1})) == [
        "max_tokens"
    ]


@pytest.mark.parametrize("fields", [["system"], "route", ["visitor"]])
def test_only_known_fields_can_be_allowed(acme, alice, fields):
    response = signed_in(alice).patch(f"/api/tenants/{acme.pk}", {"settings": {"visitor_fields": fields}})
    assert problem(response, 400) == "invalid"


def test_a_retry_by_a_visitor_has_no_option_that_was_closed_since(fake, visitor, opened, acme):
    acme.update(visitor_fields=["max_tokens"])
    fake.script(fault="400")
    refused = visitor.post(messages(opened), {"message": "Hello", "max_tokens": 17})
    assert refused.status_code >= 400
    acme.update(visitor_fields=[])
    fake.reset()

    reply = Message.objects.get(role="assistant")
    assert visitor.post(f"{messages(opened)}/{reply.pk}/retry").status_code == 200
    assert fake.log()[-1].body.get("max_tokens") != 17


def test_public_keys_and_visitors_are_refused_at_the_openai_endpoint(fake, page, visitor):
    body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
    assert page.post("/v1/chat/completions", body).status_code == 403
    assert page.get("/v1/models").status_code == 403
    assert visitor.post("/v1/chat/completions", body).status_code == 401
    assert not fake.log()


INTERNAL = ("groq", "openrouter", "-model", "USD", 'input_tokens": 1', 'system_prompt": "')


def assert_nothing_internal(text: str) -> None:
    found = [word for word in INTERNAL if word in text]
    assert not found, (found, text)


def test_a_visitor_reads_neither_provider_nor_model_nor_cost(fake, visitor, opened, acme, alice):
    session = f"/api/chat/sessions/{opened['id']}"
    override = {"system_prompt": "Be brief.", "route": ["groq"], "metadata": {"internal": "groq"}}
    assert signed_in(alice).patch(session, override).status_code == 200

    sent = visitor.post(messages(opened), {"message": "Hello"})
    assert sent.json()["reply"]["content"]
    reply = sent.json()["reply"]
    assert (reply["provider"], reply["model"], reply["usage"], reply["attempts"]) == ("", "", None, [])
    one = f"{messages(opened)}/{reply['id']}"
    answers = [
        sent,
        visitor.get(messages(opened)),
        visitor.get(one),
        visitor.get(session),
        visitor.post(f"{one}/cancel"),
        visitor.put(f"{one}/feedback", {"rating": "up"}),
        visitor.post("/api/chat", {"message": "More?"}),
    ]
    for answer in answers:
        assert answer.status_code < 300, answer.content
        assert_nothing_internal(answer.content.decode())
    for path in (f"{session}/export?format=json", f"{session}/export?format=markdown"):
        assert_nothing_internal(b"".join(visitor.get(path).streaming_content).decode())


def test_the_events_of_a_visitors_stream_name_no_model_and_no_usage(fake, visitor, opened):
    sent = events(visitor.post(messages(opened), {"message": "Hello", "stream": True}))
    read = events(visitor.get(f"{messages(opened)}/{sent[0][2]['reply_id']}/stream"))

    for stream in (sent, read):
        assert "usage" not in [name for name, _, _ in stream]
        assert_nothing_internal(json.dumps(stream))


def test_a_restarted_stream_names_no_model(fake, visitor, opened):
    fake.script(faults=["cut"])

    stream = events(visitor.post(messages(opened), {"message": "Hello", "stream": True}))

    assert_nothing_internal(json.dumps(stream))


def test_errors_of_providers_and_plans_are_not_shown_to_visitors(fake, visitor, page, opened, acme):
    fake.script(fault="401")
    failed = visitor.post(messages(opened), {"message": "Hello"})
    assert failed.status_code >= 400
    assert_nothing_internal(failed.content.decode())
    assert_nothing_internal(visitor.get(messages(opened)).content.decode())

    limited(acme, tokens_per_month=1)
    refused = visitor.post(messages(opened), {"message": "Hello"})
    assert problem(refused, 429) == "quota_exceeded"
    assert "tokens" not in refused.content.decode()
    assert_nothing_internal(refused.content.decode())


def test_a_public_key_reads_as_little_as_its_visitors(fake, page):
    assert_nothing_internal(page.post("/api/chat", {"message": "Hello"}).content.decode())
    stream = page.post("/api/chat", {"message": "Hello", "stream": True})
    assert_nothing_internal(b"".join(stream.streaming_content).decode())


def test_servers_and_members_still_read_all(fake, site, session):
    sent = site.post(f"/api/chat/sessions/{session.pk}/messages", {"message": "Hello"}).json()
    assert sent["reply"]["provider"] == "groq"
    assert sent["reply"]["usage"]["input_tokens"]
    assert sent["reply"]["attempts"]
