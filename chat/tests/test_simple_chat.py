"""POST /api/chat: a message in, a reply out."""

from __future__ import annotations

import pytest

from chat.models import ChatSession, Message
from qa.testing.chat import events
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import issue, limited, problem, with_key


def test_a_message_gets_a_reply_and_a_session(fake, site, acme):
    response = site.post("/api/chat", {"message": "Hello"})

    assert response.status_code == 200, response.content
    body = response.json()
    assert set(body) == {"reply", "session_id", "message_id", "provider", "model", "usage"}
    stored = Message.objects.get(pk=body["message_id"])
    assert (stored.content, str(stored.session_id)) == (body["reply"], body["session_id"])
    assert ChatSession.objects.get().tenant_id == acme.pk


def test_a_conversation_continues_in_its_session(fake, site):
    first = site.post("/api/chat", {"message": "I am Ada."}).json()
    second = site.post("/api/chat", {"message": "Who am I?", "session_id": first["session_id"]})

    assert second.json()["session_id"] == first["session_id"]
    sent = [message["content"] for message in fake.log()[-1].body["messages"]]
    assert sent == ["I am Ada.", first["reply"], "Who am I?"]
    assert ChatSession.objects.count() == 1


def test_it_streams(fake, site):
    received = events(site.post("/api/chat", {"message": "Hello", "stream": True}))
    assert received[0][0] == "start"
    assert received[-1][0] == "done"


def test_it_needs_a_key(fake, dave_client, client):
    assert problem(client.post("/api/chat", {"message": "Hello"}, "application/json"), 401)
    assert problem(dave_client.post("/api/chat", {"message": "Hello"}), 401)


def test_a_key_without_the_scope_is_refused(fake, acme, alice):
    reader = with_key(issue(acme, alice, scopes=["sessions:read"]).secret)
    assert problem(reader.post("/api/chat", {"message": "Hello"}), 403) == "permission_denied"
    assert not ChatSession.objects.exists()


def test_another_tenants_session_is_not_found(fake, site, umbrella):
    foreign = ChatSession.objects.create(tenant=umbrella)
    response = site.post("/api/chat", {"message": "Hello", "session_id": str(foreign.pk)})
    assert problem(response, 404) == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "message"), ({"message": "a", "session_id": 7}, "session_id"), ({"message": "a", "x": 1}, "x")],
)
def test_bad_input_opens_no_session(fake, site, body, field):
    response = site.post("/api/chat", body)
    assert problem(response, 400) == "invalid"
    assert response.json()["errors"][0]["field"] == field
    assert not ChatSession.objects.exists()


def test_a_send_over_the_plans_limit_leaves_no_session(fake, acme, site):
    limited(acme, messages_per_month=0)
    assert problem(site.post("/api/chat", {"message": "Hello"}), 429) == "quota_exceeded"
    assert not ChatSession.objects.exists()


def test_concurrent_equal_sends_with_an_idempotency_key_open_one_session(fake, site):
    def send():
        return site.post("/api/chat", {"message": "Hello"}, HTTP_IDEMPOTENCY_KEY="once")

    responses = run_concurrently(*[send] * 8)

    assert {response.status_code for response in responses} == {200}, responses
    assert len({response.content for response in responses}) == 1
    assert ChatSession.objects.count() == 1
    assert len(fake.log()) == 1
