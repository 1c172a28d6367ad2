"""What a client sees when providers refuse: waits, repairs on the receipt, limits that are sent."""

import json
import time

import pytest

from qa.testing.chat import messages
from qa.testing.tenants import limited, problem

KNOWN = "groq/openai/gpt-oss-120b"


def refused(fake, status, error, provider="groq", times=None, **headers):
    raw = {"status": status, "headers": headers, "pieces": [json.dumps({"error": error})], "end": "clean"}
    fake.script(provider=provider, raw=raw | {"framed": True}, times=times)


def send(site, session, **fields):
    return site.post(messages(session), {"message": "Hello", **fields})


def test_limit_is_sent_only_where_client_tenant_or_plan_sets_one(fake, acme, site, session):
    """Groq counts a limit that is sent as if it were used."""
    acme.update(route=[KNOWN])
    limited(acme, tokens_per_month=10_000_000)
    send(site, session)
    send(site, session, max_tokens=50)
    acme.update(max_tokens=70)
    send(site, session)
    limited(acme, tokens_per_month=10_000_000, max_output_tokens=30)
    send(site, session)
    send(site, session, max_tokens=10)
    assert [entry.body.get("max_completion_tokens") for entry in fake.log()] == [None, 50, 70, 30, 10]


def test_limit_above_the_models_own_is_lowered_for_that_target_only(fake, acme, site, session):
    acme.update(route=["groq/qwen/qwen3.8-27b", KNOWN])
    limited(acme)
    refused(fake, 401, {"message": "no"}, times=1)
    reply = send(site, session, max_tokens=50_000).json()["reply"]
    assert [entry.body["max_completion_tokens"] for entry in fake.log()] == [16_384, 50_000]
    assert [line.get("notes") for line in reply["attempts"]] == [
        ["max_tokens was lowered from 50000 to 16384."],
        None,
    ]


def test_repairs_are_on_the_stored_receipt(fake, acme, site, session):
    acme.update(route=[KNOWN])
    refused(fake, 400, {"message": "Unsupported parameter: 'temperature'.", "param": "temperature"}, times=1)
    reply = send(site, session, temperature=0.3).json()["reply"]
    [line] = site.get(f"{messages(session)}/{reply['id']}").json()["attempts"]
    assert (line["outcome"], line["notes"]) == ("ok", ["temperature was left out: it was refused."])


DAY = {"message": "Rate limit reached on tokens per day (TPD): Limit 500000, Used 500000.", "code": "x"}


@pytest.mark.parametrize("path", ["native", "openai"])
def test_wait_for_a_limit_per_day_is_the_true_one_or_none(fake, acme, site, session, path):
    acme.update(route=[KNOWN])

    def answer():
        if path == "native":
            return send(site, session, concurrent=True)
        return site.post(
            "/v1/chat/completions", {"model": KNOWN, "messages": [{"role": "user", "content": "Hello"}]}
        )

    refused(fake, 429, DAY)
    assert "Retry-After" not in answer()
    fake.reset()
    resets_at = str(int(time.time() + 7200))
    refused(fake, 429, DAY, **{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": resets_at})
    assert 7000 < int(answer()["Retry-After"]) <= 7201


def test_target_that_cannot_do_it_leaves_the_request_to_the_next(fake, acme, site, session):
    acme.update(route=[KNOWN, "openrouter/openai/gpt-oss-120b"])
    refused(fake, 400, {"message": "This model does not support image input"})
    reply = send(site, session).json()["reply"]
    assert [line["outcome"] for line in reply["attempts"]] == ["unsupported", "ok"]

    refused(fake, 404, {"message": "No endpoints found that support image input"}, "openrouter")
    assert problem(send(site, session), 422) == "provider_refused"
