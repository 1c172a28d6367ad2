"""A turn and what can happen to it: cancel, retry, resume, duplicate messages, failing providers."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from bson import ObjectId
from django.utils import timezone

from chat.models import Message
from chat.turns import Reply, settlement
from chat.turns.finished_run import FinishedRun
from qa.testing.chat import events, messages, settled
from qa.testing.concurrency import in_background, run_concurrently
from qa.testing.tenants import problem
from qa.testing.waiting import wait_for
from tenants.models import LedgerEntry, Usage


def reply_with(session, **fields) -> Message | None:
    return Message.objects.filter(session=session, role="assistant", **fields).first()


@pytest.fixture
def slow(fake):
    """A provider that sends one word every two seconds."""
    fake.script(answer={"text": "One two three four five six seven eight.", "seconds_between": 2.0})
    return fake


def test_the_question_is_kept_when_no_provider_answers(fake, dave_client, session):
    fake.script(fault="500")

    response = dave_client.post(messages(session), {"message": "Hello?"})

    assert problem(response, 502) == "provider_failed"
    assert Message.objects.get(session=session, role="user").content == "Hello?"
    reply = reply_with(session)
    assert response.json()["reply_id"] == str(reply.pk)
    assert reply.status == "failed"
    assert {attempt["target"] for attempt in reply.attempts} == {
        "groq/groq-model",
        "openrouter/openrouter-model",
    }


def test_the_next_provider_answers_and_all_attempts_are_listed(fake, dave_client, session):
    fake.script(provider="groq", fault="503")

    reply = dave_client.post(messages(session), {"message": "Hello?"}).json()["reply"]

    assert (reply["status"], reply["provider"]) == ("complete", "openrouter")
    assert [a["outcome"] for a in reply["attempts"]][-1] == "ok"
    assert reply["attempts"][0]["outcome"] == "overloaded"


def test_a_failed_reply_costs_no_message(fake, dave_client, session, acme):
    fake.script(fault="500")
    reply_id = dave_client.post(messages(session), {"message": "Hello?"}).json()["reply_id"]

    settled(reply_id)

    usage = Usage.objects.of(acme)
    [month] = usage.months.values()
    assert (month["messages"], month["reserved_messages"], usage.live) == (0, 0, 0)
    assert LedgerEntry.objects.filter(reply=reply_id).exists()


def test_an_answer_that_is_settled_twice_is_counted_once(fake, dave_client, session, acme):
    reply = dave_client.post(messages(session), {"message": "What is this session about?"}).json()["reply"]

    settled(reply["id"])
    stored = Reply.from_document(Message.collection().find_one({"_id": ObjectId(reply["id"])}))
    settlement.settle([FinishedRun.of(stored)])

    [month] = Usage.objects.of(acme).months.values()
    assert month["messages"] == 1
    assert month["tokens"] == reply["usage"]["total_tokens"]
    assert LedgerEntry.objects.filter(reply=reply["id"]).count() == 1
    session.refresh_from_db()
    assert (session.message_count, session.title) == (2, "What is this session about?")


def test_cancel_stops_the_provider_and_keeps_the_partial(slow, dave_client, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    reading = in_background(lambda: events(response))
    reply = wait_for(lambda: reply_with(session, content__gt=""))

    cancelled = dave_client.post(f"{messages(session)}/{reply.pk}/cancel")

    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert "One two three four five six seven eight.".startswith(cancelled.json()["content"].rstrip())
    assert cancelled.json()["content"]
    assert reading()[-1][0] == "done"
    slow.wait_for(lambda log: log[-1].disconnected_after is not None)


def test_a_second_message_is_refused_while_a_turn_is_running(slow, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    refused = site.post(messages(session), {"message": "And?"})

    assert problem(refused, 409) == "turn_running"
    assert refused.json()["reply_id"] == str(reply_with(session).pk)
    assert Message.objects.filter(session=session).count() == 2
    site.post(f"{messages(session)}/{reply_with(session).pk}/cancel")
    events(response)


def test_concurrent_turns_keep_their_order(slow, fake, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    fake.reset()
    second = site.post(messages(session), {"message": "And?", "concurrent": True})

    assert second.status_code == 201, second.content
    assert (second.json()["message"]["seq"], second.json()["reply"]["seq"]) == (3, 4)
    sent = [m["content"] for m in fake.log()[-1].body["messages"]]
    assert sent == ["Count.", "And?"]
    site.post(f"{messages(session)}/{reply_with(session, seq=2).pk}/cancel")
    events(response)


def test_retry_answers_in_place_and_keeps_the_former_attempt(fake, dave_client, session, acme):
    fake.script(fault="500")
    failed = dave_client.post(messages(session), {"message": "Hello?"}).json()
    fake.reset()

    retried = dave_client.post(f"{messages(session)}/{failed['reply_id']}/retry", {})

    assert retried.status_code == 200, retried.content
    reply = retried.json()
    assert (reply["id"], reply["status"], reply["run"]) == (failed["reply_id"], "complete", 2)
    assert {a["run"] for a in reply["attempts"]} == {1, 2}
    assert Message.objects.filter(session=session).count() == 2
    settled(reply["id"])
    [month] = Usage.objects.of(acme).months.values()
    assert (month["messages"], month["reserved_messages"]) == (1, 0)
    again = dave_client.post(f"{messages(session)}/{reply['id']}/retry", {})
    assert problem(again, 409) == "not_retryable"


def test_retry_uses_the_options_of_the_message(fake, dave_client, session):
    options = {"provider": "openrouter", "model": "requested", "temperature": 0.3, "max_tokens": 77}
    fake.script(fault="500")
    failed = dave_client.post(messages(session), {"message": "Hello?", **options}).json()
    fake.reset()

    retried = dave_client.post(f"{messages(session)}/{failed['reply_id']}/retry", {})

    assert (retried.json()["provider"], retried.json()["model"]) == ("openrouter", "requested")
    sent = fake.log()[-1].body
    assert (sent["model"], sent["temperature"], sent["max_completion_tokens"]) == ("requested", 0.3, 77)


def test_a_stream_can_be_resumed_after_every_event(fake, dave_client, session):
    fake.script(answer={"text": "Grüße an die Welt: 🌍 und 你好!"})
    sent = events(dave_client.post(messages(session), {"message": "Hi", "stream": True}))
    reply = sent[-1][2]
    content = reply["content"]

    for cut in range(len(sent) - 1):
        have = "".join(data["text"] for name, _, data in sent[: cut + 1] if name == "delta")
        rest = events(
            dave_client.get(f"{messages(session)}/{reply['id']}/stream", HTTP_LAST_EVENT_ID=sent[cut][1])
        )
        have += "".join(data["text"] for name, _, data in rest if name == "delta")
        assert have == content
        assert rest[-1][0] == "done"
    after_the_end = {"HTTP_LAST_EVENT_ID": sent[-1][1]}
    assert dave_client.get(f"{messages(session)}/{reply['id']}/stream", **after_the_end).status_code == 204
    from_start = events(dave_client.get(f"{messages(session)}/{reply['id']}/stream"))
    assert from_start[0][0] == "start"
    assert "".join(d["text"] for n, _, d in from_start if n == "delta") == content


def test_a_running_turn_can_be_followed(slow, fake, site, dave_client, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    reading = in_background(lambda: events(response))
    reply = wait_for(lambda: reply_with(session))
    follower = in_background(lambda: events(dave_client.get(f"{messages(session)}/{reply.pk}/stream")))
    wait_for(lambda: reply_with(session, content__gt=""))
    site.post(f"{messages(session)}/{reply.pk}/cancel")
    reading()

    followed = follower()
    assert followed[-1][0] == "done"
    text = "".join(d["text"] for n, _, d in followed if n == "delta")
    assert text == Message.objects.get(pk=reply.pk).content


def test_a_turn_is_completed_after_its_client_disconnects(fake, site, session):
    fake.script(answer={"text": "A complete answer.", "seconds_between": 0.05})
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    stream = iter(response.streaming_content)
    next(stream)
    response.close()

    reply = wait_for(lambda: reply_with(session, status="complete"))
    assert reply.content == "A complete answer."


def test_a_reader_ahead_of_the_last_checkpoint_waits_for_it(fake, dave_client, session):
    """It reconnected to another worker before the newest text was stored."""
    reply = left_streaming(session, content="One two ")
    later = timezone.now() + timedelta(seconds=60)
    Message.objects.filter(pk=reply.pk).update(lease_until=later)
    response = dave_client.get(f"{messages(session)}/{reply.pk}/stream", HTTP_LAST_EVENT_ID="1:14")
    Message.objects.filter(pk=reply.pk).update(content="One two three four", status="complete")

    received = events(response)
    assert [name for name, _, _ in received] == ["delta", "usage", "done"]
    assert received[0][2] == {"text": "four"}


def test_a_reader_ahead_of_the_last_checkpoint_of_a_dead_worker_restarts(fake, dave_client, session):
    reply = left_streaming(session, content="One two ")
    path = f"{messages(session)}/{reply.pk}/stream"
    received = events(dave_client.get(path, HTTP_LAST_EVENT_ID="1:14"))
    assert [name for name, _, _ in received] == ["restart", "delta", "error"]
    assert received[1][2] == {"text": "One two "}


def test_fifty_duplicates_make_one_turn(fake, acme, site, session):
    body = {"message": "Once, please."}

    def send():
        return site.post(messages(session), body, HTTP_IDEMPOTENCY_KEY="fifty")

    responses = run_concurrently(*[send] * 50)

    assert {response.status_code for response in responses} == {201}, responses
    assert len({response.content for response in responses}) == 1
    assert sum("Idempotent-Replayed" in response for response in responses) == 49
    assert len(fake.log()) == 1
    assert Message.objects.filter(session=session).count() == 2
    settled(responses[0].json()["reply"]["id"])
    usage = Usage.objects.of(acme)
    assert (usage.live, next(iter(usage.months.values()))["messages"]) == (0, 1)
    assert LedgerEntry.objects.filter(tenant=acme).count() == 1


def test_the_same_key_with_another_body_is_refused(fake, site, session):
    assert site.post(messages(session), {"message": "a"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 201
    other = site.post(messages(session), {"message": "b"}, HTTP_IDEMPOTENCY_KEY="k")
    assert problem(other, 422) == "idempotency_key_reused"


def test_the_same_key_makes_another_attempt_at_a_failed_reply(fake, site, session):
    fake.script(fault="500")
    assert site.post(messages(session), {"message": "a"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 502
    fake.reset()
    again = site.post(messages(session), {"message": "a"}, HTTP_IDEMPOTENCY_KEY="k")
    assert again.status_code == 201
    assert (again.json()["reply"]["run"], again.json()["reply"]["status"]) == (2, "complete")
    assert Message.objects.filter(session=session).count() == 2


def left_streaming(session, *, content="half an ans") -> Message:
    """Return a reply whose worker is dead: its lease has expired."""
    question = Message.objects.create(
        session=session, tenant=session.tenant, seq=1, role="user", content="Hi"
    )
    return Message.objects.create(
        session=session,
        tenant=session.tenant,
        seq=2,
        role="assistant",
        content=content,
        status="streaming",
        in_reply_to=question,
        provider="groq",
        model="groq-model",
        lease_until=timezone.now() - timedelta(seconds=1),
    )


def test_a_dead_workers_reply_is_interrupted_when_it_is_read(fake, dave_client, session):
    reply = left_streaming(session)

    received = events(dave_client.get(f"{messages(session)}/{reply.pk}/stream"))

    assert received[-1][0] == "error"
    assert received[-1][2]["code"] == "reply_interrupted"
    reply.refresh_from_db()
    assert (reply.status, reply.content) == ("interrupted", "half an ans")
    retried = dave_client.post(f"{messages(session)}/{reply.pk}/retry", {})
    assert retried.json()["status"] == "complete"


def test_a_dead_workers_reply_does_not_block_its_session(fake, dave_client, session):
    left_streaming(session)
    assert dave_client.post(messages(session), {"message": "Still there?"}).status_code == 201


def test_a_sweep_interrupts_dead_replies_and_releases_their_reservations(fake, session, acme):
    reply = left_streaming(session)
    Usage.objects.admit(acme, reservation_id=reply.pk, tokens=100, cost=Decimal(0), lease_seconds=0)
    Message.objects.filter(pk=reply.pk).update(reservation=reply.pk, month="2026-11")

    settlement.sweep()

    reply.refresh_from_db()
    assert (reply.status, reply.settled) == ("interrupted", True)
    usage = Usage.objects.of(acme)
    assert (usage.live, usage.reservations) == (0, {})


def test_a_sweep_releases_a_reservation_without_a_reply(acme, session):
    Usage.objects.admit(acme, reservation_id=session.pk, tokens=1, cost=Decimal(0), lease_seconds=-1)
    settlement.sweep()
    assert Usage.objects.of(acme).live == 0


def test_deleting_a_session_ends_its_running_turn(slow, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    reading = in_background(lambda: events(response))
    assert site.delete(f"/api/chat/sessions/{session.pk}").status_code == 204
    name, _, reply = reading()[-1]
    assert (name, reply["status"]) == ("done", "cancelled")
    assert not Message.objects.exists()
