"""What a tenant keeps of conversations is bounded by its plan: how many are opened a day, and their bytes."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from chat import kept_data
from chat.erasure import erase_session
from chat.models import ChatSession, Message
from chat.turns import replies
from qa.testing.chat import settled_usage
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, limited, problem, with_key
from tenants.models import Usage


def open_session(client: APIClient):
    return client.post("/api/chat/sessions", {})


def stored(tenant) -> int:
    of_tenant = {"tenant_id": tenant.pk}
    return sum(kept_data.stored_bytes(model, of_tenant) for model in kept_data.COUNTED)


def test_conversations_of_a_day_are_limited_for_visitors_too(acme, site, public_key):
    limited(acme, sessions_per_day=2)
    page = with_key(public_key.secret, HTTP_ORIGIN="https://shop.example")
    assert [open_session(client).status_code for client in (site, page)] == [201, 201]

    for client in (site, page):
        refused = open_session(client)
        assert problem(refused, 429) == "plan_limit"
        assert int(refused["Retry-After"]) > 0
    assert ChatSession.objects.count() == 2


def test_concurrent_requests_do_not_exceed_the_day(acme, site):
    limited(acme, sessions_per_day=2)

    statuses = run_concurrently(*[lambda: open_session(site).status_code] * 5)

    assert sorted(statuses) == [201, 201, 429, 429, 429]


def test_the_one_call_endpoint_counts_the_session_it_opens(fake, acme, site):
    limited(acme, sessions_per_day=1)
    assert site.post("/api/chat", {"message": "Hello"}).status_code == 200

    assert problem(site.post("/api/chat", {"message": "Hello"}), 429) == "plan_limit"
    assert ChatSession.objects.count() == 1


def test_the_count_begins_again_each_day(acme, site):
    limited(acme, sessions_per_day=1)
    open_session(site)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"day": "2020-01-01"}})

    assert open_session(site).status_code == 201


def test_kept_bytes_are_limited_and_deletion_makes_room(fake, acme, site, alice):
    limited(acme, kept_bytes=200_000)
    session = ChatSession.objects.get(pk=open_session(site).json()["id"])
    path = f"/api/chat/sessions/{session.pk}/messages"
    answers = [site.post(path, {"message": "x" * 60_000}) for _ in range(4)]
    assert [answer.status_code for answer in answers][-1] == 409
    refused = answers[-1]
    assert problem(refused, 409) == "plan_limit"
    assert refused.json()["limit"]["name"] == "kept_bytes"
    assert "Retry-After" not in refused
    assert stored(acme) <= 200_000

    erase_session(session, by(alice))

    assert open_session(site).status_code == 201


def test_what_is_counted_is_never_less_than_what_is_stored(fake, acme, site, session):
    open_session(site)
    for text in ("Hi", "é" * 5000, "😀" * 2000):
        sent = site.post(
            f"/api/chat/sessions/{session.pk}/messages", {"message": text, "metadata": {"a": [1.5]}}
        )
        assert sent.status_code == 201
    unseen = kept_data.stored_bytes(ChatSession, {"_id": session.pk})  # made by the fixture, not counted

    assert settled_usage(acme).kept_bytes >= stored(acme) - unseen


def test_a_wrong_count_is_corrected_before_it_refuses(acme, site):
    limited(acme, kept_bytes=100_000)
    open_session(site)
    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"kept_bytes": 99_999}})
    assert open_session(site).status_code == 201

    Usage.collection().update_one({"_id": acme.pk}, {"$set": {"kept_bytes": 99_999}})
    assert problem(open_session(site), 409) == "plan_limit"  # counted a moment ago


def test_usage_shows_both_limits(acme, site):
    limited(acme, sessions_per_day=5, kept_bytes=10_000)
    open_session(site)

    limits = {limit["name"]: limit for limit in site.get(f"/api/tenants/{acme.pk}/usage").json()["limits"]}
    assert (limits["sessions_per_day"]["used"], limits["sessions_per_day"]["limit"]) == (1, 5)
    assert limits["kept_bytes"]["used"] >= 1000


@pytest.mark.parametrize("code", ["free", "pro"])
def test_plans_of_the_installation_limit_both(acme, code):
    plan = type(acme.plan).objects.get(code=code)
    assert plan.sessions_per_day
    assert plan.kept_bytes


@pytest.mark.usefixtures("one_window")
def test_one_network_opens_few_conversations_with_a_public_key(public_key, settings):
    settings.RATES = {**settings.RATES, "chat.sessions": "2/m"}
    page = with_key(public_key.secret, HTTP_ORIGIN="https://shop.example")
    assert [open_session(page).status_code for _ in range(3)] == [201, 201, 429]


def test_a_reply_keeps_the_attempts_of_a_bounded_number_of_runs(fake, site, session, monkeypatch):
    monkeypatch.setattr(replies, "MAX_RUNS", 2)
    fake.script(fault="400")
    path = f"/api/chat/sessions/{session.pk}/messages"
    key = {"HTTP_IDEMPOTENCY_KEY": "a-key"}
    site.post(path, {"message": "Hello"}, **key)
    reply = Message.objects.get(role="assistant")

    statuses = [site.post(f"{path}/{reply.pk}/retry").status_code for _ in range(2)]
    again = site.post(path, {"message": "Hello"}, **key)

    assert statuses == [422, 409]
    assert again.status_code == 422
    assert len(Message.objects.get(pk=reply.pk).attempts) == 2
