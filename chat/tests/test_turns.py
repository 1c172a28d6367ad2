"""A turn and what may happen to it: cancel, retry, resume, double sends, failing providers."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from bson import ObjectId
from django.utils import timezone

from chat.models import ChatSession, Message
from chat.turns import Reply, settlement
from chat.turns.finished_run import FinishedRun
from qa.testing.chat import events, settled
from qa.testing.concurrency import at_once
from qa.testing.tenants import limited, problem, signed_in
from tenants.models import LedgerEntry, Usage

WAIT_SECONDS = 10


def messages(session) -> str:
    return f"/api/chat/sessions/{session.pk}/messages"


def in_background(call):
    """Run `call` in a thread; return a function that waits for its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(call()), daemon=True)
    thread.start()

    def wait():
        thread.join(WAIT_SECONDS)
        assert result, "the call did not return"
        return result[0]

    return wait


def wait_for(condition):
    """Return what `condition` gives once it gives something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
    return found


def reply_with(session, **fields) -> Message | None:
    return Message.objects.filter(session=session, role="assistant", **fields).first()


@pytest.fixture
def slow(fake):
    """A provider that says its first words and then takes its time."""
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


def test_the_next_provider_answers_and_the_receipt_says_so(fake, dave_client, session):
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


def test_an_answered_message_is_counted_once_everywhere(fake, dave_client, session, acme):
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
    waiting = in_background(lambda: site.post(messages(session), {"message": "Count.", "stream": True}))
    response = waiting()
    reading = in_background(lambda: events(response))
    reply = wait_for(lambda: reply_with(session, content__gt=""))

    cancelled = dave_client.post(f"{messages(session)}/{reply.pk}/cancel")

    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert "One two three four five six seven eight.".startswith(cancelled.json()["content"].rstrip())
    assert cancelled.json()["content"]
    assert reading()[-1][0] == "done"
    slow.wait_for(lambda log: log[-1].hung_up_after is not None)


def test_a_second_send_is_refused_while_one_runs(slow, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    refused = site.post(messages(session), {"message": "And?"})

    assert problem(refused, 409) == "turn_running"
    assert refused.json()["reply_id"] == str(reply_with(session).pk)
    assert Message.objects.filter(session=session).count() == 2
    site.post(f"{messages(session)}/{reply_with(session).pk}/cancel")
    events(response)


def test_overlapping_turns_keep_their_order_when_asked_for(slow, fake, site, session):
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


def test_retry_asks_as_the_message_did(fake, dave_client, session):
    wish = {"provider": "openrouter", "model": "wished", "temperature": 0.3, "max_tokens": 77}
    fake.script(fault="500")
    failed = dave_client.post(messages(session), {"message": "Hello?", **wish}).json()
    fake.reset()

    retried = dave_client.post(f"{messages(session)}/{failed['reply_id']}/retry", {})

    assert (retried.json()["provider"], retried.json()["model"]) == ("openrouter", "wished")
    asked = fake.log()[-1].body
    assert (asked["model"], asked["temperature"], asked["max_completion_tokens"]) == ("wished", 0.3, 77)


def test_a_stream_is_read_on_from_every_event(fake, dave_client, session):
    fake.script(answer={"text": "Grüße an die Welt: 🌍 und 你好!"})
    sent = events(dave_client.post(messages(session), {"message": "Hi", "stream": True}))
    reply = sent[-1][2]
    whole = reply["content"]

    for cut in range(len(sent)):
        have = "".join(data["text"] for name, _, data in sent[: cut + 1] if name == "delta")
        rest = events(
            dave_client.get(f"{messages(session)}/{reply['id']}/stream", HTTP_LAST_EVENT_ID=sent[cut][1])
        )
        have += "".join(data["text"] for name, _, data in rest if name == "delta")
        assert have == whole
        assert rest[-1][0] == "done"
    from_start = events(dave_client.get(f"{messages(session)}/{reply['id']}/stream"))
    assert from_start[0][0] == "start"
    assert "".join(d["text"] for n, _, d in from_start if n == "delta") == whole


def test_a_running_turn_can_be_read_along(slow, fake, site, dave_client, session):
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


def test_a_client_that_hangs_up_finds_the_whole_answer(fake, site, session):
    fake.script(answer={"text": "A whole answer to the end.", "seconds_between": 0.05})
    response = site.post(messages(session), {"message": "Tell me.", "stream": True})
    stream = iter(response.streaming_content)
    next(stream)
    response.close()

    reply = wait_for(lambda: reply_with(session, status="complete"))
    assert reply.content == "A whole answer to the end."


def test_a_reader_that_takes_nothing_does_not_hold_its_turn(fake, site, session):
    fake.script(answer={"text": "A whole answer to the end.", "seconds_between": 0.05})
    response = site.post(messages(session), {"message": "Tell me.", "stream": True})
    stream = iter(response.streaming_content)
    taken = [next(stream), next(stream)]

    wait_for(lambda: reply_with(session, status="complete"))

    happened = b"".join([*taken, *stream]).decode()
    assert "".join(json.loads(d)["text"] for d in re.findall(r"event: delta\n.*\ndata: (.*)", happened)) == (
        "A whole answer to the end."
    )
    assert "event: done" in happened


def test_a_reader_ahead_of_the_last_checkpoint_waits_for_it(fake, dave_client, session):
    """Its stream broke and it came back to another worker before that saw the newest text."""
    reply = left_streaming(session, content="One two ")
    later = timezone.now() + timedelta(seconds=60)
    Message.objects.filter(pk=reply.pk).update(lease_until=later)
    response = dave_client.get(f"{messages(session)}/{reply.pk}/stream", HTTP_LAST_EVENT_ID="1:14")
    Message.objects.filter(pk=reply.pk).update(content="One two three four", status="complete")

    happened = events(response)
    assert [name for name, _, _ in happened] == ["delta", "usage", "done"]
    assert happened[0][2] == {"text": "four"}


def test_a_reader_ahead_of_what_a_dead_worker_stored_starts_again(fake, dave_client, session):
    reply = left_streaming(session, content="One two ")
    path = f"{messages(session)}/{reply.pk}/stream"
    happened = events(dave_client.get(path, HTTP_LAST_EVENT_ID="1:14"))
    assert [name for name, _, _ in happened] == ["restart", "delta", "error"]
    assert happened[1][2] == {"text": "One two "}


def test_fifty_equal_sends_make_one_turn(fake, acme, site, session):
    body = {"message": "Once, please."}

    def send():
        return site.post(messages(session), body, HTTP_IDEMPOTENCY_KEY="fifty")

    answers = at_once(*[send] * 50)

    assert {answer.status_code for answer in answers} == {201}, answers
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer for answer in answers) == 49
    assert len(fake.log()) == 1
    assert Message.objects.filter(session=session).count() == 2
    settled(answers[0].json()["reply"]["id"])
    usage = Usage.objects.of(acme)
    assert (usage.live, next(iter(usage.months.values()))["messages"]) == (0, 1)
    assert LedgerEntry.objects.filter(tenant=acme).count() == 1


def test_the_same_key_with_another_body_is_422(fake, site, session):
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
    """A reply whose worker is dead: its lease has run out."""
    asked = Message.objects.create(session=session, tenant=session.tenant, seq=1, role="user", content="Hi")
    return Message.objects.create(
        session=session,
        tenant=session.tenant,
        seq=2,
        role="assistant",
        content=content,
        status="streaming",
        in_reply_to=asked,
        provider="groq",
        model="groq-model",
        lease_until=timezone.now() - timedelta(seconds=1),
    )


def test_a_dead_workers_reply_is_interrupted_for_whoever_reads(fake, dave_client, session):
    reply = left_streaming(session)

    happened = events(dave_client.get(f"{messages(session)}/{reply.pk}/stream"))

    assert happened[-1][0] == "error"
    assert happened[-1][2]["code"] == "reply_interrupted"
    reply.refresh_from_db()
    assert (reply.status, reply.content) == ("interrupted", "half an ans")
    retried = dave_client.post(f"{messages(session)}/{reply.pk}/retry", {})
    assert retried.json()["status"] == "complete"


def test_a_dead_workers_reply_does_not_block_its_session(fake, dave_client, session):
    left_streaming(session)
    assert dave_client.post(messages(session), {"message": "Still there?"}).status_code == 201


def test_a_sweep_ends_dead_replies_and_frees_what_they_held(fake, session, acme):
    reply = left_streaming(session)
    Usage.objects.admit(acme, reservation_id=reply.pk, tokens=100, cost=Decimal(0), lease_seconds=0)
    Message.objects.filter(pk=reply.pk).update(reservation=reply.pk, month="2026-11")

    settlement.sweep()

    reply.refresh_from_db()
    assert (reply.status, reply.settled) == ("interrupted", True)
    usage = Usage.objects.of(acme)
    assert (usage.live, usage.reservations) == (0, {})


def test_a_reservation_without_a_reply_is_given_back(acme, session):
    Usage.objects.admit(acme, reservation_id=session.pk, tokens=1, cost=Decimal(0), lease_seconds=-1)
    settlement.sweep()
    assert Usage.objects.of(acme).live == 0


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
    acme.system_prompt = "Be kind."
    acme.save()
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
        ({"message": "a", "provider": "nobody"}, "model"),
        ({"message": "a", "model": "nobody/model"}, "model"),
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


def test_feedback_is_kept_on_replies_only(fake, site, session):
    sent = site.post(messages(session), {"message": "a"}).json()
    given = {"rating": "down", "comment": "Too long."}
    reply = site.put(f"{messages(session)}/{sent['reply']['id']}/feedback", given)
    assert reply.json()["feedback"] == given
    on_question = site.put(f"{messages(session)}/{sent['message']['id']}/feedback", given)
    assert problem(on_question, 409) == "not_a_reply"
    bad = site.put(f"{messages(session)}/{sent['reply']['id']}/feedback", {"rating": "meh"})
    assert problem(bad, 400) == "invalid"


def test_blocked_content_is_reported_and_not_routed_around(fake, site, session):
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


def test_deleting_a_session_ends_its_running_turn(slow, site, session):
    response = site.post(messages(session), {"message": "Count.", "stream": True})
    reading = in_background(lambda: events(response))
    assert site.delete(f"/api/chat/sessions/{session.pk}").status_code == 204
    name, _, reply = reading()[-1]
    assert (name, reply["status"]) == ("done", "cancelled")
    assert not Message.objects.exists()


def test_an_answer_is_bounded_where_the_plan_limits_tokens(fake, acme, site, session):
    """What is not bounded can't be reserved."""
    limited(acme, tokens_per_month=100_000)
    site.post(messages(session), {"message": "a"})
    site.post(messages(session), {"message": "b", "max_tokens": 50})
    sent = [entry.body.get("max_completion_tokens") for entry in fake.log()]
    assert sent == [1024, 50]

    limited(acme)
    site.post(messages(session), {"message": "c"})
    assert "max_completion_tokens" not in fake.log()[-1].body
