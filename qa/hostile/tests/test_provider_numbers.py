"""Numbers of a provider through whole turns: the answer is kept, and billed exactly or by an estimate."""

from __future__ import annotations

from io import StringIO

import pytest
import requests
from django.core.management import call_command

from chat.models import Message
from core.jobs.models import SetAside
from llm.tests.test_reported_numbers import ABSURD_COSTS, ABSURD_COUNTS, wire
from qa.testing.chat import messages, settled_usage
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import limited
from tenants.models import LedgerEntry, Tenant

NAMES = {
    "gemini": ("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount")
}
OPENAI_NAMES = ("prompt_tokens", "completion_tokens", "total_tokens")

#: Absurd alone, as one of two, and two that are absurd only together.
USAGES = [(count, "7") for count in ABSURD_COUNTS] + [("7", count) for count in ABSURD_COUNTS]
USAGES += [("9e18", "9e18"), (str(2**62), str(2**62)), ("19999999", "19999999"), ("0", "0"), ('"12"', "3.5")]


@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter"])
def test_every_number_of_usage_leaves_an_answer_and_a_ledger_entry(fake, site, session, acme, settings, name):
    settings.LLM_ROUTE = [f"{name}/{'gemini-3.5-flash-lite' if name == 'gemini' else 'openai/gpt-oss-120b'}"]
    settings.LLM_PROVIDERS["gemini"]["api_key"] = "test-key"
    limited(acme)
    fields = NAMES.get(name, OPENAI_NAMES)
    usages = ["{" + f'"{fields[0]}": {one}, "{fields[1]}": {other}' + "}" for one, other in USAGES]
    if name == "openrouter":
        usages += [f'{{"prompt_tokens": 4, "completion_tokens": 2, "cost": {cost}}}' for cost in ABSURD_COSTS]
    for usage in usages:
        fake.reset()
        fake.script(raw={"pieces": [wire(name, usage, stream=True)]})
        answer = site.post(messages(session), {"message": "Hello"})
        assert answer.status_code == 201, (usage, answer.content)
        assert answer.json()["reply"]["content"] == "a", usage
        assert len(fake.log()) == 1, usage

    settled_usage(acme)
    lines = LedgerEntry.objects.filter(tenant=acme)
    assert lines.count() == len(usages)
    assert all(line.cost is not None and line.cost < 100 and line.tokens <= 40_000_000 for line in lines)
    assert not Message.objects.filter(settled=False).exists()
    assert not SetAside.objects.exists()
    call_command("verify_ledger", stdout=StringIO())


def completion(product, key: str) -> requests.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{product.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


@pytest.mark.parametrize("count", [str(10**30), "9e18", str(2**63 - 1)])
def test_one_absurd_answer_among_many_spoils_no_settlement(product, fake_server, victim, count):
    fake_server.reset()
    usage = f'{{"prompt_tokens": {count}, "completion_tokens": {count}}}'
    fake_server.script(raw={"pieces": [wire("groq", usage, stream=True)]}, times=1)

    answers = run_concurrently(*[lambda: completion(product, victim.key)] * 6)

    assert [answer.status_code for answer in answers] == [200] * 6
    tenant = Tenant.objects.get(pk=victim.tenant)
    settled_usage(tenant)
    lines = LedgerEntry.objects.filter(tenant=tenant)
    assert lines.count() == 6
    assert sum(line.messages for line in lines) == 6
    assert max(line.tokens for line in lines) < 1000


def test_calls_one_after_the_other_need_one_running_turn(product, fake_server, victim):
    fake_server.reset()
    tenant = limited(Tenant.objects.get(pk=victim.tenant), concurrent_turns=1)

    statuses = [completion(product, victim.key).status_code for _ in range(16)]

    assert statuses == [200] * 16
    settled_usage(tenant)
    assert LedgerEntry.objects.filter(tenant=tenant).count() == 16
