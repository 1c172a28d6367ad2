"""A session stays usable, however much text it has: its newest messages are read, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.models import Message
from chat.tests.test_settlement import stored
from chat.turns import options, replies, settlement
from chat.turns.question import Question
from llm import routing
from llm.windows import Windows
from qa.testing.chat import messages
from qa.testing.window_server import WindowServer

LONG = "x" * 780_000


@pytest.fixture
def long_session(session):
    """A session with more text than one document of the database can have."""
    for _ in range(11):
        stored(session)
    settlement.sweep()
    Message.collection().update_many({"session_id": session.pk}, {"$set": {"content": LONG}})
    return session


def sent_characters(fake) -> int:
    return sum(len(message["content"]) for message in fake.log()[-1].body["messages"])


def test_a_session_of_more_than_16_megabytes_goes_on(long_session, dave_client, fake):
    answer = dave_client.post(messages(long_session), {"message": "Hi"})

    assert answer.status_code == 201, answer.content
    assert len(LONG) < sent_characters(fake) < 9_000_000
    fake.script(fault="500")
    failed = dave_client.post(messages(long_session), {"message": "Hi"}).json()
    fake.reset()
    retried = dave_client.post(f"{messages(long_session)}/{failed['reply_id']}/retry")
    assert retried.status_code == 200, retried.content


def test_a_message_that_is_too_long_is_left_out_and_the_others_are_sent(session, dave_client, fake):
    for _ in range(2):
        stored(session)
    settlement.sweep()
    newest = Message.objects.filter(session=session).order_by("-seq").first()
    Message.collection().update_one({"_id": newest.pk}, {"$set": {"content": "x" * 9_000_000}})

    assert dave_client.post(messages(session), {"message": "And?"}).status_code == 201
    sent = [message["content"] for message in fake.log()[-1].body["messages"]]
    assert sent == ["Hello", "Hi", "Hello", "And?"]


@pytest.mark.parametrize("content", [7, None, {"text": "Hi"}])
def test_a_content_that_is_no_text_is_left_out(session, content):
    stored(session)
    question = Message.objects.filter(session=session, role="user").get()
    Message.collection().update_one({"_id": question.pk}, {"$set": {"content": content}})
    last = Question.from_document(Message.collection().find_one({"_id": question.pk}))
    reply = Message.objects.get(session=session, role="assistant")
    messages_read = replies.messages_before(replace(last, seq=reply.seq + 1), 10)
    assert [message["content"] for message in messages_read] == ["", "Hi"]


def test_a_page_of_large_messages_is_smaller_and_pages_have_no_gaps(long_session, dave_client):
    first, seen = f"{messages(long_session)}?page_size=100", []
    page = dave_client.get(first).json()
    assert [len(row["content"]) for row in page["results"]] == [len(LONG)] * 2
    while page["next"]:
        seen += [row["seq"] for row in page["results"]]
        page = dave_client.get(page["next"]).json()
    seen += [row["seq"] for row in page["results"]]
    assert seen == sorted(Message.objects.filter(session=long_session).values_list("seq", flat=True))

    last = seen[-len(page["results"]) :]
    while page["previous"]:
        page = dave_client.get(page["previous"]).json()
        last = [row["seq"] for row in page["results"]] + last
    assert last == seen


@pytest.fixture
def own_model(session, settings, monkeypatch):
    """A model of an unknown window of 8,192 tokens, which the session uses."""
    learned = Windows()
    monkeypatch.setattr(routing, "WINDOWS", learned)
    monkeypatch.setattr(options, "WINDOWS", learned)
    with WindowServer(8192) as server:
        values = {"api_key": "", "base_url": server.base_url, "model": "own-model"}
        settings.LLM_PROVIDERS = settings.LLM_PROVIDERS | {"openai_compatible": values}
        session.overrides = {"route": ["openai_compatible/own-model"]}
        session.save(update_fields=["overrides"])
        yield server


def test_a_session_does_not_die_of_its_length(own_model, session, dave_client):
    sizes = []
    for number in range(9):
        text = f"{number} " + "several words of a story " * 216 if number < 7 else "ok"
        answer = dave_client.post(messages(session), {"message": text})
        assert answer.status_code == 201, answer.content
        sizes.append(len(own_model.sent))
        attempts = answer.json()["reply"]["attempts"]
        assert [each["outcome"] for each in attempts][-1] == "ok"
        assert len(attempts) <= 3
    assert "Of the history" in attempts[-1]["notes"][0]
    # Once it is known what the model takes, each message is one call.
    assert sizes[-1] - sizes[-2] == 1
    assert own_model.sent[-1][-1]["content"] == "ok"


def test_a_retry_of_a_long_session_is_fitted_too(own_model, session, dave_client):
    own_model.window = 100_000
    for _ in range(3):
        dave_client.post(messages(session), {"message": "several words of a story " * 400})
    own_model.window = 10
    failed = dave_client.post(messages(session), {"message": "ok"})
    assert failed.status_code == 422, failed.content
    assert failed.json()["code"] == "context_too_long"
    own_model.window = 8192
    retried = dave_client.post(f"{messages(session)}/{failed.json()['reply_id']}/retry")
    assert retried.status_code == 200, retried.content
