"""A month's limit is never exceeded, although failed calls are billed: a further call needs room.

The first target, a fake Gemini, reports 12 tokens and breaks off; the second answers with 12 + 34. Every
token costs a thousandth of a dollar.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest
from openai import APIError, OpenAI, RateLimitError
from rest_framework.test import APIClient

from chat.models import ChatSession, Message
from chat.tests.clients import Client
from chat.tests.faulty_mongod import FaultyMongod
from chat.tests.usage_watch import is_anything_open
from chat.turns import heartbeat
from qa.fake_provider.server import FakeProvider
from qa.testing.chat import events, messages, settled_usage
from qa.testing.concurrency import in_background
from qa.testing.server import RunningServer
from qa.testing.tenants import limited, problem
from qa.testing.waiting import wait_for, wait_until
from tenants.models import LedgerEntry, Tenant, Usage

ROUTE = ["gemini/first", "openrouter/second"]
BODY = {"message": "Hello", "max_tokens": 50}

#: What the first target reports until it breaks off, and what the second reports in all.
BROKEN_TOKENS = 12
WHOLE_TOKENS = 12 + 34

USD_PER_TOKEN = Decimal("0.001")


def catalogue_file(folder, *, assistant_prefix: bool = False) -> str:
    facts = {"assistant_prefix": assistant_prefix, "prices": [{"input": "1000", "output": "1000"}]}
    models = [dict(zip(("provider", "id"), target.split("/"), strict=True)) | facts for target in ROUTE]
    path = folder / f"catalogue-{assistant_prefix}.json"  # read once by name
    path.write_text(json.dumps({"models": models}))
    return str(path)


@dataclass
class Stage:
    """Acme, and what is left of its month's limit."""

    tenant: Tenant
    client: APIClient
    fake: FakeProvider

    def create_session(self) -> ChatSession:
        return ChatSession.objects.create(tenant=self.tenant)

    def reserved_tokens(self) -> int:
        """Return what a turn reserves, by one that uses nothing."""
        self.fake.script(fault="silent")
        session = self.create_session()
        wait = in_background(lambda: self.client.post(messages(session), BODY))
        (held,) = wait_for(lambda: Usage.objects.of(self.tenant).reservations).values()
        for turn in wait_for(heartbeat.turns):
            turn.cancel()
        wait()
        self.fake.reset()
        return held["tokens"]

    def leave_room_for(self, more_tokens: int, *, limit: str = "tokens_per_month") -> None:
        """Set the limit so that one answer and `more_tokens` remain."""
        one_answer = self.reserved_tokens()
        used = month_of(settled_usage(self.tenant))["tokens"]
        tokens = used + one_answer + more_tokens
        amount = tokens if limit == "tokens_per_month" else tokens * USD_PER_TOKEN
        limited(self.tenant, **{limit: amount})

    def called(self) -> list[str]:
        return [entry.provider for entry in self.fake.log()]


@pytest.fixture
def stage(fake, acme, site, settings, tmp_path) -> Stage:
    settings.LLM_ROUTE = ROUTE
    settings.LLM_PROVIDERS["gemini"]["api_key"] = "test-key"
    settings.LLM_CATALOGUE = catalogue_file(tmp_path)
    return Stage(acme, site, fake)


def month_of(usage: Usage) -> dict:
    (month,) = usage.months.values()
    return month


def verify_usage(tenant: Tenant) -> None:
    usage = settled_usage(tenant)
    assert all(limit.has_room_for(0) for limit in usage.limit_usages())
    assert [drift for drift in LedgerEntry.objects.drift() if drift.tenant_id == tenant.pk] == []


@pytest.mark.parametrize("limit", ["tokens_per_month", "cost_per_month"])
def test_a_further_call_that_might_exceed_the_limit_is_not_made(stage, limit):
    stage.leave_room_for(BROKEN_TOKENS - 1, limit=limit)
    stage.fake.script(provider="gemini", fault="cut-after-3")

    response = stage.client.post(messages(stage.create_session()), BODY)

    assert problem(response, 429) == "quota_exceeded"
    body = response.json()
    assert body["limit"]["name"] == limit
    assert body["reply_status"] == "interrupted"
    assert "no room for another call" in body["detail"]
    assert int(response["Retry-After"]) > 0
    assert stage.called() == ["gemini"]
    reply = Message.objects.get(pk=body["reply_id"])
    assert reply.content == "You said: Hello "
    assert reply.error["kind"] == "out_of_budget"
    verify_usage(stage.tenant)


@pytest.mark.parametrize("limit", ["tokens_per_month", "cost_per_month"])
def test_the_next_target_answers_where_there_is_room(stage, limit):
    stage.leave_room_for(BROKEN_TOKENS, limit=limit)
    before = month_of(Usage.objects.of(stage.tenant))["tokens"]
    stage.fake.script(provider="gemini", fault="cut-after-3")

    response = stage.client.post(messages(stage.create_session()), BODY)

    assert response.status_code == 201, response.content
    assert stage.called() == ["gemini", "openrouter"]
    verify_usage(stage.tenant)
    assert month_of(Usage.objects.of(stage.tenant))["tokens"] - before == BROKEN_TOKENS + WHOLE_TOKENS


def test_a_failure_that_is_not_billed_needs_no_more_room(stage):
    stage.leave_room_for(0)
    stage.fake.script(provider="gemini", fault="401")

    assert stage.client.post(messages(stage.create_session()), BODY).status_code == 201
    assert stage.called() == ["gemini", "openrouter"]
    verify_usage(stage.tenant)


def test_estimated_tokens_of_a_failure_are_not_billed(stage, settings):
    settings.LLM_ROUTE = ["groq/unmetered", *ROUTE]
    stage.leave_room_for(0)
    before = month_of(Usage.objects.of(stage.tenant))["tokens"]
    stage.fake.script(provider="groq", fault="cut-after-3")

    response = stage.client.post(messages(stage.create_session()), BODY)

    assert response.status_code == 201, response.content
    broken = response.json()["reply"]["attempts"][0]
    assert (broken["tokens_estimated"], broken["cost"]) == (True, "0")
    verify_usage(stage.tenant)
    assert month_of(Usage.objects.of(stage.tenant))["tokens"] - before == WHOLE_TOKENS


PARTIAL = "You said: Hello and here are some calm words "

#: A continuation sends the partial as a message of its own and requests that much less.
CONTINUING_TOKENS = len(PARTIAL) + 16 - -(-len(PARTIAL) // 4)


@pytest.mark.parametrize(
    ("more_tokens", "status"),
    [(BROKEN_TOKENS + CONTINUING_TOKENS - 1, 429), (BROKEN_TOKENS + CONTINUING_TOKENS, 201)],
)
def test_a_continuation_needs_room_for_the_partial_it_sends(stage, settings, tmp_path, more_tokens, status):
    settings.LLM_CATALOGUE = catalogue_file(tmp_path, assistant_prefix=True)
    stage.leave_room_for(more_tokens)
    stage.fake.script(provider="gemini", fault="cut-after-9")

    response = stage.client.post(messages(stage.create_session()), BODY)

    assert response.status_code == status, response.content
    reply = Message.objects.filter(role="assistant").order_by("-created_at").first()
    assert reply.content.startswith(PARTIAL)
    assert (reply.content == PARTIAL) == (status == 429)
    verify_usage(stage.tenant)


def test_a_stream_ends_with_a_problem_and_its_partial_stays(stage):
    stage.leave_room_for(0)
    stage.fake.script(provider="gemini", fault="cut-after-3")

    received = events(stage.client.post(messages(stage.create_session()), {**BODY, "stream": True}))

    assert [name for name, _, _ in received][:2] == ["start", "delta"]
    name, _, body = received[-1]
    assert (name, body["status"], body["code"]) == ("error", 429, "quota_exceeded")
    assert body["limit"]["name"] == "tokens_per_month"
    assert Message.objects.get(pk=body["reply_id"]).content == "You said: Hello "
    verify_usage(stage.tenant)


def test_a_retry_has_the_same_limit(stage):
    stage.leave_room_for(BROKEN_TOKENS - 1)
    stage.fake.script(fault="401")
    session = stage.create_session()
    failed = stage.client.post(messages(session), BODY).json()["reply_id"]
    settled_usage(stage.tenant)
    stage.fake.reset()
    stage.fake.script(provider="gemini", fault="cut-after-3")
    retry = f"{messages(session)}/{failed}/retry"

    assert problem(stage.client.post(retry), 429) == "quota_exceeded"
    assert stage.called() == ["gemini"]
    verify_usage(stage.tenant)


# -- the OpenAI-compatible endpoint ------------------------------------------------------------


def ask(client: OpenAI, **options):
    hello = [{"role": "user", "content": "Hello"}]
    fallbacks = {"fallbacks": ["openrouter/good"]}
    return client.chat.completions.create(
        model="gemini/good", messages=hello, max_tokens=50, extra_body=fallbacks, **options
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more_tokens", [BROKEN_TOKENS - 1, BROKEN_TOKENS])
def test_a_completion_never_exceeds_the_limit_either(openai_client, fake, acme, more_tokens, stream):
    fake.script(fault="stall-after-1")
    with ask(openai_client, stream=True):
        (held,) = Usage.objects.of(acme).reservations.values()
    used = month_of(settled_usage(acme))["tokens"]
    limited(acme, tokens_per_month=used + held["tokens"] + more_tokens)
    fake.reset()
    fake.script(provider="gemini", fault="cut-after-3")

    if more_tokens < BROKEN_TOKENS:
        with pytest.raises(APIError) as raised:
            list(ask(openai_client, stream=stream))
        assert raised.value.code == "quota_exceeded"
        assert isinstance(raised.value, RateLimitError) or stream  # there the answer has begun
    else:
        list(ask(openai_client, stream=stream))
    verify_usage(acme)


# -- the database is unreachable ----------------------------------------------------------------------


@pytest.mark.slow
def test_no_further_call_is_made_while_usage_cannot_be_counted(fake_server, tmp_path):
    fake_server.reset()
    fake_server.script(provider="gemini", fault="cut-after-3")
    variables = {"LLM_ROUTE": ",".join(ROUTE), "LLM_CATALOGUE": catalogue_file(tmp_path)}
    for name in ("gemini", "openrouter"):
        variables[f"{name.upper()}_BASE_URL"] = fake_server.base_url(name)
        variables[f"{name.upper()}_API_KEY"] = "test-key"
    with (
        FaultyMongod(tmp_path / "mongod") as mongod,
        RunningServer(mongod.uri, tmp_path / "server", "--seed", **variables) as server,
    ):
        client = Client(server.url, server.output.partition("API key")[2].split()[0])
        session = client.post(f"{client.url}/api/chat/sessions", {}).json()["id"]
        mongod.fail("too slow", ["update"], 2, "tenants_usage")  # the driver retries once

        answer = client.send(session, **BODY).wait()

        mongod.wait_until_failed(2)
        mongod.heal()
        assert (answer.status, answer.body["code"]) == (503, "counter_unavailable")
        assert [entry.provider for entry in fake_server.log()] == ["gemini"]
        wait_until(lambda: not is_anything_open(mongod.database), "all is settled")
        reply = mongod.database.chat_message.find_one({"role": "assistant"})
        assert (reply["status"], reply["content"]) == ("interrupted", "You said: Hello ")
        (month,) = mongod.database.tenants_usage.find_one()["months"].values()
        assert month["tokens"] == BROKEN_TOKENS
