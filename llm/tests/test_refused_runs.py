"""Runs along a route whose targets refuse: what follows, and what is left of it."""

import json

import pytest

from llm import errors, routing, windows
from llm.breaker import Breakers
from llm.canonical import Message, Request, Target
from llm.policy import Policy
from llm.routing import Run
from llm.windows import Windows
from qa.testing.llm import asking

FAST = Policy().scaled(0.1)

GROQ = Target("groq", "openai/gpt-oss-120b")
GEMINI = Target("gemini", "gemini-3.5-flash-lite")
OPENROUTER = Target("openrouter", "openai/gpt-oss-120b")


def refused(fake, provider, status, message, **headers):
    raw = {"status": status, "headers": headers, "pieces": [json.dumps({"error": {"message": message}})]}
    fake.script(provider=provider, raw=raw)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "This model does not support image input", "unsupported"),
        (400, "Provider returned error", "overloaded"),
        (413, "Request Entity Too Large", "context_length"),
        (413, "Request too large on tokens per minute (TPM): Limit 8, Requested 9", "rate_limit"),
    ],
)
def test_refusal_that_a_request_can_provoke_goes_on_and_opens_no_circuit(
    fake, provider, status, message, kind
):
    refused(fake, "groq", status, message)
    breakers = Breakers()
    for origin in ("a", "b", "c", "d"):
        route = [GROQ, OPENROUTER]
        run = Run(asking(), route, policy=FAST, provider_of=provider, breakers=breakers, origin=origin)
        run.complete()
        assert run.attempts[0].outcome == kind
        assert run.attempts[-1].outcome == "ok"
    assert GROQ not in breakers.states()


@pytest.fixture
def learned(monkeypatch):
    fresh = Windows()
    monkeypatch.setattr(windows, "WINDOWS", fresh)
    monkeypatch.setattr(routing, "WINDOWS", fresh)


@pytest.mark.parametrize("body", ["", "<h1>413 Request Entity Too Large</h1>", "{}"])
def test_history_too_large_for_the_last_host_is_sent_shorter(fake, provider, learned, body):
    fake.script(provider="openai_compatible", raw={"status": 413, "pieces": [body]}, times=1)
    roles = ("user", "assistant")
    earlier = tuple(Message(roles[at % 2], f"{at}. " + "word " * 900) for at in range(8))
    request = Request((*earlier, Message("user", "And now?")), history=8)
    run = Run(request, [Target("openai_compatible", "own")], policy=FAST, provider_of=provider)
    run.complete()
    assert [line.outcome for line in run.attempts] == ["context_length", "ok"]
    first, second = (len(entry.body["messages"]) for entry in fake.log() if entry.method == "POST")
    assert second < first


def test_body_too_large_for_one_host_goes_whole_to_the_next(fake, provider, learned):
    fake.script(provider="groq", raw={"status": 413, "pieces": [""]})
    request = Request(
        (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Go on")), history=2
    )
    run = Run(request, [GROQ, OPENROUTER], policy=FAST, provider_of=provider)
    run.complete()
    assert [line.outcome for line in run.attempts] == ["context_length", "ok"]
    assert [len(entry.body["messages"]) for entry in fake.log()] == [3, 3]


def test_wait_of_a_failed_run_is_the_shortest_that_a_target_has_stated(fake, provider):
    refused(fake, "groq", 429, "slow down", **{"Retry-After": "90"})
    refused(fake, "gemini", 429, "slow down", **{"Retry-After": "40"})
    refused(fake, "openrouter", 429, "Rate limit exceeded: free-models-per-day")
    with pytest.raises(errors.AllProvidersFailed) as caught:
        Run(asking(), [GROQ, GEMINI, OPENROUTER], policy=FAST, provider_of=provider).complete()
    assert (caught.value.kind, caught.value.retry_after_seconds) == ("rate_limit", 40)
    assert not caught.value.do_not_wait
