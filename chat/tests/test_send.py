"""POST /api/chat/sessions/{id}/messages."""

from __future__ import annotations

from chat.models import Message
from qa.testing.chat import events
from qa.testing.tenants import problem, signed_in


def send(client, session, body=None, **extra):
    return client.post(f"/api/chat/sessions/{session.pk}/messages", body or {"message": "Hello"}, **extra)


def test_a_message_gets_a_reply(fake, dave_client, session):
    response = send(dave_client, session, {"message": "Hello"})

    assert response.status_code == 201, response.content
    message, reply = response.json()["message"], response.json()["reply"]
    assert (message["role"], message["content"], message["seq"]) == ("user", "Hello", 1)
    assert (reply["role"], reply["status"], reply["seq"]) == ("assistant", "complete", 2)
    assert reply["content"]
    assert reply["in_reply_to"] == message["id"]
    assert (reply["provider"], reply["model"]) == ("groq", "groq-model")
    assert [attempt["outcome"] for attempt in reply["attempts"]] == ["ok"]
    assert reply["usage"]["input_tokens"] > 0


def test_a_streamed_reply_is_the_stored_one(fake, dave_client, session):
    response = send(dave_client, session, {"message": "Hello", "stream": True})

    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    received = events(response)
    names = [name for name, _, _ in received]
    assert names[0] == "start"
    assert names[-2:] == ["usage", "done"]
    text = "".join(data["text"] for name, _, data in received if name == "delta")
    stored = Message.objects.get(pk=received[-1][2]["id"])
    assert text == stored.content == received[-1][2]["content"]
    assert received[-1][1] == f"1:{len(text)}:end"


def test_a_user_of_another_tenant_gets_404(fake, mallory, session):
    assert problem(send(signed_in(mallory), session), 404) == "not_found"
