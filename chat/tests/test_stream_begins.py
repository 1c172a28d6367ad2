"""A stream begins before its provider answers, and ends once."""

from __future__ import annotations

import pytest

from chat.models import Message
from qa.testing.chat import events, messages
from qa.testing.tenants import problem


@pytest.mark.parametrize("path", ["session", "simple"])
def test_a_reply_can_be_cancelled_before_its_first_token(fake, site, session, path):
    fake.script(fault="silent")
    body = {"message": "Hello", "stream": True}
    if path == "session":
        response = site.post(messages(session), body)
    else:
        response = site.post("/api/chat", {**body, "session_id": str(session.pk)})
    stream = iter(response.streaming_content)
    start = next(stream).decode()
    assert start.startswith("event: start\n")
    reply_id = start.partition('"reply_id":"')[2][:24]

    cancelled = site.post(f"{messages(session)}/{reply_id}/cancel")

    assert cancelled.status_code in (200, 202)
    rest = b"".join(stream).decode()
    assert "event: done" in rest
    assert Message.objects.get(pk=reply_id).status == "cancelled"


def test_a_failure_of_all_providers_is_the_last_event(fake, site, session):
    fake.script(fault="401")
    stream = events(site.post(messages(session), {"message": "Hello", "stream": True}))

    assert [name for name, _, _ in stream] == ["start", "error"]
    assert stream[-1][2]["status"] >= 400
    assert stream[-1][2]["code"]
    reply = Message.objects.get(pk=stream[0][2]["reply_id"])
    assert (reply.status, reply.content) == ("failed", "")


def test_what_is_refused_before_it_is_accepted_is_no_stream(fake, site, session):
    for body, status in (({"message": ""}, 400), ({"message": "Hi", "provider": "nosuch"}, 400)):
        assert problem(site.post(messages(session), {**body, "stream": True}), status)


def follow(site, session, reply_id: str, last_event_id: str | None = None):
    headers = {} if last_event_id is None else {"HTTP_LAST_EVENT_ID": last_event_id}
    return site.get(f"{messages(session)}/{reply_id}/stream", **headers)


def test_an_event_source_stops_after_the_end(fake, site, session):
    first = events(site.post(messages(session), {"message": "Hello", "stream": True}))
    reply_id = first[0][2]["reply_id"]

    replayed = events(follow(site, session, reply_id))
    assert replayed[-1][1] == first[-1][1]
    after = follow(site, session, reply_id, replayed[-1][1])
    assert (after.status_code, after.content) == (204, b"")


def test_a_client_that_missed_the_last_event_gets_it(fake, site, session):
    sent = events(site.post(messages(session), {"message": "Hello", "stream": True}))
    reply_id = sent[0][2]["reply_id"]
    last_delta = [event_id for name, event_id, _ in sent if name == "delta"][-1]

    assert [name for name, _, _ in events(follow(site, session, reply_id, last_delta))] == ["usage", "done"]


def test_a_failed_reply_ends_for_its_readers_until_it_is_retried(fake, site, session):
    fake.script(fault="401")
    failed = events(site.post(messages(session), {"message": "Hello", "stream": True}))
    reply_id, end = failed[0][2]["reply_id"], failed[-1][1]
    assert follow(site, session, reply_id, end).status_code == 204

    fake.reset()
    assert site.post(f"{messages(session)}/{reply_id}/retry").status_code == 200

    names = [name for name, _, _ in events(follow(site, session, reply_id, end))]
    assert names == ["restart", "delta", "usage", "done"]


def test_a_running_reply_has_no_end(fake, site, session):
    fake.script(fault="stall")
    response = site.post(messages(session), {"message": "Hello", "stream": True})
    stream = iter(response.streaming_content)
    reply_id = next(stream).decode().partition('"reply_id":"')[2][:24]
    reading = follow(site, session, reply_id, "1:0:end")
    assert reading.status_code == 200
    reading.close()
    response.close()
