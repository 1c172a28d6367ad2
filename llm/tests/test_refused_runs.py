"""Runs along a route whose targets refuse: what follows, and what is left of it."""

import json

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Target
from llm.policy import Policy
from llm.routing import Run
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


def test_wait_of_a_failed_run_is_the_shortest_that_a_target_has_stated(fake, provider):
    refused(fake, "groq", 429, "slow down", **{"Retry-After": "90"})
    refused(fake, "gemini", 429, "slow down", **{"Retry-After": "40"})
    refused(fake, "openrouter", 429, "Rate limit exceeded: free-models-per-day")
    with pytest.raises(errors.AllProvidersFailed) as caught:
        Run(asking(), [GROQ, GEMINI, OPENROUTER], policy=FAST, provider_of=provider).complete()
    assert (caught.value.kind, caught.value.retry_after_seconds) == ("rate_limit", 40)
    assert not caught.value.do_not_wait
