"""What a message is sent with and refused for: validation, limits, history, options, feedback."""

from __future__ import annotations

import pytest

from chat.models import ChatSession, Message
from qa.testing.chat import messages
from qa.testing.tenants import limited, problem, signed_in


def test_plan_limits_refuse_with_headers_and_store_nothing(fake, acme, site, session):
    limited(acme, requests_per_minute=1)
    first = site.post(messages(session), {"message": "a"})
    second = site.post(messages(session), {"message": "b"})

    assert first.status_code == 201
    assert (first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]) == ("1", "0")
    assert problem(second, 429) == "rate_limited"
    assert int(second["Retry-After"]) <= 60
    assert second.json()["limit"]["name"] == "requests_per_minute"
    assert Message.objects.filter(session=session).count() == 2


def test_history_is_sent_in_order_and_bounded_by_the_plan(fake, acme, site, session):
    limited(acme, history_messages=4)
    for number in range(4):
        assert site.post(messages(session), {"message": f"question {number}"}).status_code == 201
    sent = [m["content"] for m in fake.log()[-1].body["messages"] if m["role"] == "user"]
    assert sent == ["question 1", "question 2", "question 3"]


def test_the_system_prompt_is_the_sessions_else_the_tenants(fake, acme, site, session):
    acme.update(system_prompt="Be kind.")
    site.post(messages(session), {"message": "a"})
    ChatSession.objects.filter(pk=session.pk).update(overrides={"system_prompt": "Be brief."})
    site.post(messages(session), {"message": "b"})

    systems = [entry.body["messages"][0] for entry in fake.log()]
    assert systems == [
        {"role": "system", "content": "Be kind."},
        {"role": "system", "content": "Be brief."},
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": "  \n "}, "message"),
        ({"message": 17}, "message"),
        ({"message": ["a"]}, "message"),
        ({"message": None}, "message"),
        ({"message": "a", "stream": "maybe"}, "stream"),
        ({"message": "a", "temperature": 2.1}, "temperature"),
        ({"message": "a", "max_tokens": -1}, "max_tokens"),
        ({"message": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"message": "a", "provider": "unknown"}, "provider"),
        ({"message": "a", "model": "unknown/model"}, "model"),
        ({"message": "a", "metadata": []}, "metadata"),
        ({"message": "a", "surprise": 1}, "surprise"),
    ],
)
def test_bad_messages_are_refused_and_not_stored(fake, site, session, body, field):
    response = site.post(messages(session), body)

    assert problem(response, 400) == "invalid"
    assert response.json()["errors"][0]["field"] == field
    assert not Message.objects.exists()
    assert fake.log() == []


def test_a_viewer_cannot_send(fake, bob, session):
    assert problem(signed_in(bob).post(messages(session), {"message": "a"}), 403) == "permission_denied"
    assert fake.log() == []


def test_a_closed_session_takes_no_messages(fake, site, session):
    assert site.put(f"/api/chat/sessions/{session.pk}", {"status": "closed"}).status_code == 200
    assert problem(site.post(messages(session), {"message": "a"}), 409) == "session_closed"


def test_feedback_is_stored_for_replies_only(fake, site, session):
    sent = site.post(messages(session), {"message": "a"}).json()
    given = {"rating": "down", "comment": "Too long."}
    reply = site.put(f"{messages(session)}/{sent['reply']['id']}/feedback", given)
    assert reply.json()["feedback"] == given
    on_question = site.put(f"{messages(session)}/{sent['message']['id']}/feedback", given)
    assert problem(on_question, 409) == "not_a_reply"
    bad = site.put(f"{messages(session)}/{sent['reply']['id']}/feedback", {"rating": "meh"})
    assert problem(bad, 400) == "invalid"


def test_blocked_content_is_reported_and_not_sent_to_another_provider(fake, site, session):
    fake.script(provider="groq", fault="content-filter")
    response = site.post(messages(session), {"message": "a"})
    assert problem(response, 422) == "content_blocked"
    assert {entry.provider for entry in fake.log()} == {"groq"}


def test_a_message_of_another_session_is_not_found(fake, site, session, acme):
    sent = site.post(messages(session), {"message": "a"}).json()
    other = ChatSession.objects.create(tenant=acme)
    for path, method in (("", "get"), ("/stream", "get"), ("/cancel", "post"), ("/retry", "post")):
        response = getattr(site, method)(f"{messages(other)}/{sent['reply']['id']}{path}")
        assert problem(response, 404) == "not_found"


def test_answers_have_a_limit_where_the_plan_limits_tokens(fake, acme, site, session):
    """Usage without a bound could not be reserved."""
    limited(acme, tokens_per_month=100_000)
    site.post(messages(session), {"message": "a"})
    site.post(messages(session), {"message": "b", "max_tokens": 50})
    sent = [entry.body.get("max_completion_tokens") for entry in fake.log()]
    assert sent == [1024, 50]

    limited(acme)
    site.post(messages(session), {"message": "c"})
    assert "max_completion_tokens" not in fake.log()[-1].body


def test_only_the_events_of_a_finished_reply_are_whole(session, dave_client, fake):
    """They may be sent at once, and from a file."""
    body, once = {"message": "Hello", "stream": True}, {"HTTP_IDEMPOTENCY_KEY": "a-key"}
    first = dave_client.post(messages(session), body, **once)
    assert not first.is_whole
    assert b"event: done" in first.getvalue()

    reply = Message.objects.get(session=session, role="assistant")
    again = dave_client.post(messages(session), body, **once)
    read = dave_client.get(f"{messages(session)}/{reply.pk}/stream")
    for response in (again, read):
        assert response.is_whole
        assert b"event: done" in response.getvalue()
