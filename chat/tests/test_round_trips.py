"""The database round trips of a turn before its provider is called."""

from __future__ import annotations

import pytest

from qa.fake_provider.server import FakeProvider

#: The answer comes so fast that checkpoints and settlement play no part.
BODY = {"message": "Hello"}


def before_the_provider(recording) -> list[str]:
    """Return the commands of this thread before the one that ends the reply, the first after the call."""
    sent = [str(command) for command in recording.of_this_thread()]
    ends = next(i for i, command in enumerate(sent) if command == "findAndModify chat_message")
    return sent[:ends]


@pytest.fixture
def warm(fake: FakeProvider, site, session) -> None:
    """The first request of a process may also open connections and create counters."""
    assert site.post(f"/api/chat/sessions/{session.pk}/messages", BODY).status_code == 201


def test_a_keys_turn_takes_four(warm, site, session, commands):
    with commands.recording() as recording:
        response = site.post(f"/api/chat/sessions/{session.pk}/messages", BODY)

    assert response.status_code == 201
    assert before_the_provider(recording) == [
        "aggregate tenants_apikey",
        "aggregate chat_chatsession",
        "findAndModify tenants_usage",
        "insert chat_message",
    ]


def test_a_users_turn_takes_four(warm, dave_client, session, commands):
    with commands.recording() as recording:
        response = dave_client.post(f"/api/chat/sessions/{session.pk}/messages", BODY)

    assert response.status_code == 201
    assert len(before_the_provider(recording)) <= 4


def test_a_keyed_turn_with_an_idempotency_key_takes_four(warm, site, session, commands):
    with commands.recording() as recording:
        response = site.post(f"/api/chat/sessions/{session.pk}/messages", BODY, HTTP_IDEMPOTENCY_KEY="a-key")

    assert response.status_code == 201
    assert len(before_the_provider(recording)) <= 4


def test_the_simple_endpoint_takes_four(warm, site, commands):
    with commands.recording() as recording:
        response = site.post("/api/chat", BODY)

    assert response.status_code == 200, response.content
    assert len(before_the_provider(recording)) <= 4
