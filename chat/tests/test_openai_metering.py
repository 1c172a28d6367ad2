"""Completions are counted and billed like turns, and nothing of the conversation is stored."""

from __future__ import annotations

from decimal import Decimal

import pytest
from bson import json_util
from django.db import connection
from openai import APIError, OpenAI

from qa.testing.chat import settled_usage
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import limited
from tenants.models import LedgerEntry, Usage

SENTINEL = "xyzzy-not-to-be-stored"
MODEL = "groq/openai/gpt-oss-120b"


def ask(client: OpenAI, model: str = MODEL, **options):
    messages = [
        {"role": "system", "content": f"{SENTINEL} system"},
        {"role": "user", "content": f"{SENTINEL} question"},
    ]
    return client.chat.completions.create(model=model, messages=messages, **options)


def month_of(usage: Usage) -> dict:
    (month,) = usage.months.values()
    return month


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_one_message_with_its_tokens_and_price(openai_client, acme, openai_key, stream):
    answer = ask(openai_client, stream=stream)
    list(answer)

    month = month_of(settled_usage(acme))
    (line,) = LedgerEntry.objects.filter(tenant=acme)
    assert (month["messages"], month["tokens"]) == (1, 12 + 34)
    assert (month["reserved_messages"], month["reserved_tokens"]) == (0, 0)
    assert (
        month["cost"].to_decimal() == line.cost == Decimal("0.000021825")
    )  # 7 at 0.15, 5 cached ones at 0.075 and 34 at 0.60 a million
    assert (line.outcome, line.cost_basis, line.session) == ("ok", "priced", None)
    assert (line.provider, line.model) == ("groq", "openai/gpt-oss-120b")
    assert openai_key.startswith(acme.api_keys.get(pk=line.api_key).prefix)


def test_a_failed_completion_is_in_the_ledger_and_costs_nothing(openai_client, fake, acme):
    with pytest.raises(APIError):
        ask(openai_client, "groq/fault-401")

    month = month_of(settled_usage(acme))
    (line,) = LedgerEntry.objects.filter(tenant=acme)
    assert (line.outcome, line.messages, line.tokens, line.cost) == ("auth", 0, 0, 0)
    assert (month["messages"], month["tokens"], month["reserved_messages"]) == (0, 0, 0)


def test_every_attempt_of_a_completion_is_in_the_ledger(openai_client, acme):
    ask(openai_client, "groq/fault-404", extra_body={"fallbacks": ["openrouter/good"]})

    settled_usage(acme)
    lines = LedgerEntry.objects.filter(tenant=acme).order_by("attempt")
    assert [(line.outcome, line.provider, line.messages) for line in lines] == [
        ("not_found", "groq", 0),
        ("ok", "openrouter", 1),
    ]


@pytest.mark.parametrize("content", ["tool", "image"])
def test_reservations_cover_tools_and_images(openai_client, fake, acme, content):
    fake.script(fault="stall-after-1")
    parameters = {"type": "object", "properties": {"x" * 5000: {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "clock", "parameters": parameters}}
    image = {"type": "image_url", "image_url": {"url": "https://shop.example/a.png"}}
    asked = {
        "tool": {"messages": [{"role": "user", "content": "Hello"}], "tools": [tool]},
        "image": {"messages": [{"role": "user", "content": [image]}]},
    }[content]

    with openai_client.chat.completions.create(model=MODEL, max_tokens=10, stream=True, **asked):
        (held,) = Usage.objects.of(acme).reservations.values()
    assert held["tokens"] > 5000
    settled_usage(acme)


def test_a_limit_holds_for_concurrent_callers(openai_client, fake, acme):
    limited(acme, messages_per_month=3)

    outcomes = run_concurrently(*[lambda: ask(openai_client)] * 12)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 3
    assert len(fake.log()) == 3
    assert month_of(settled_usage(acme))["messages"] == 3


def test_nothing_of_a_conversation_is_stored(openai_client, openai_server, fake, acme):
    fake.script(model="talkative", answer={"text": f"{SENTINEL} answer", "reasoning": f"{SENTINEL} thoughts"})
    ask(openai_client, "groq/talkative")
    list(ask(openai_client, "groq/talkative", stream=True))
    with pytest.raises(APIError):
        ask(openai_client, "groq/fault-400")
    with ask(openai_client, "groq/tokens-500-every-20ms", stream=True) as stream:
        next(stream)
    settled_usage(acme)

    database = connection.database
    dump = {name: list(database[name].find()) for name in database.list_collection_names()}
    assert LedgerEntry.objects.filter(tenant=acme).count() == 4
    assert SENTINEL not in json_util.dumps(dump)
    assert SENTINEL not in openai_server.output
