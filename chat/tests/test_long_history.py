"""A session stays usable, however much text it has: its newest messages are read, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.models import Message
from chat.tests.test_settlement import stored
from chat.turns import replies, settlement
from chat.turns.question import Question
from qa.testing.chat import messages

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
