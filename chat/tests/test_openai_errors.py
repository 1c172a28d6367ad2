"""Errors reach users of OpenAI's package as the exceptions that they catch."""

from __future__ import annotations

import time

import pytest
from openai import (
    AuthenticationError,
    BadRequestError,
    DefaultHttpxClient,
    InternalServerError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
)

from qa.testing.chat import settled_usage
from qa.testing.tenants import by, issue, limited
from tenants.models import ApiKey

HELLO = [{"role": "user", "content": "Hello"}]


def ask(client: OpenAI, model: str = "groq/some-model", **options):
    return client.chat.completions.create(model=model, messages=HELLO, **options)


# -- the caller -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sk-nonsense", "cap_sk_live_" + "a" * 38])
def test_an_unknown_key_is_an_authentication_error(openai_client, key):
    with pytest.raises(AuthenticationError) as raised:
        ask(openai_client.with_options(api_key=key))

    assert (raised.value.code, raised.value.type) == ("api_key_invalid", "authentication_error")


def test_a_revoked_key_is_an_authentication_error(openai_client, openai_key, alice):
    ApiKey.objects.find_by_secret(openai_key).revoke(by(alice))

    with pytest.raises(AuthenticationError):
        ask(openai_client)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scopes": ["sessions:read"]}, "permission_denied"),
        ({"scopes": ["messages:send"], "allowed_models": ["groq/another"]}, "model_not_allowed"),
    ],
)
def test_a_missing_right_is_a_permission_error(openai_client, acme, alice, fields, code):
    key = issue(acme, alice, **fields).secret

    with pytest.raises(PermissionDeniedError) as raised:
        ask(openai_client.with_options(api_key=key))
    assert (raised.value.code, raised.value.type) == (code, "permission_error")


def test_a_public_key_is_a_permission_error(openai_client, public_key):
    client = openai_client.with_options(api_key=public_key.secret)

    with pytest.raises(PermissionDeniedError) as raised:
        ask(client, extra_headers={"Origin": "https://shop.example"})
    assert raised.value.code == "public_key"


def test_a_key_may_not_use_a_fallback_that_is_not_on_its_list(openai_client, fake, acme, alice):
    key = issue(acme, alice, scopes=["messages:send"], allowed_models=["groq/some-model"]).secret

    with pytest.raises(PermissionDeniedError) as raised:
        ask(openai_client.with_options(api_key=key), extra_body={"fallbacks": ["openrouter/good"]})
    assert raised.value.code == "model_not_allowed"
    assert not fake.log()


def test_a_plan_without_streaming_is_a_permission_error(openai_client, acme):
    acme.plan.update(streaming=False)

    with pytest.raises(PermissionDeniedError) as raised:
        ask(openai_client, stream=True)
    assert raised.value.code == "streaming_not_in_plan"
    assert ask(openai_client).choices


# -- the model --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["gpt-nonsense", "unknown/model", "local/", "groq/" + "m" * 201, "groq/fault-404"]
)
def test_an_unknown_model_is_a_not_found_error(openai_client, model):
    with pytest.raises(NotFoundError) as raised:
        ask(openai_client, model)

    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_an_unknown_fallback_is_a_not_found_error_before_any_call(openai_client, fake):
    with pytest.raises(NotFoundError):
        ask(openai_client, extra_body={"fallbacks": ["unknown/model"]})

    assert not fake.log()


def test_an_unlisted_model_is_a_not_found_error(openai_client):
    with pytest.raises(NotFoundError) as raised:
        openai_client.models.retrieve("groq/never-heard-of")

    assert raised.value.code == "model_not_found"


# -- the providers ------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["groq", "gemini", "openrouter"])
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("400", "provider_refused"),
        ("context-length", "context_length_exceeded"),
        ("prompt-blocked", "content_filter"),
    ],
)
def test_a_request_that_a_provider_rejects_is_a_bad_request_error(openai_client, provider, fault, code):
    with pytest.raises(BadRequestError) as raised:
        ask(openai_client, f"{provider}/fault-{fault}")

    assert (raised.value.code, raised.value.type) == (code, "invalid_request_error")


@pytest.mark.parametrize("fault", ["401", "402", "500", "html", "reset"])
def test_a_failing_provider_is_an_internal_server_error(openai_client, fault):
    with pytest.raises(InternalServerError) as raised:
        ask(openai_client, f"groq/fault-{fault}")

    assert (raised.value.status_code, raised.value.code, raised.value.type) == (
        502,
        "provider_failed",
        "server_error",
    )
    assert "groq" in raised.value.message


def test_busy_providers_are_a_rate_limit_error_with_retry_after(openai_client):
    with pytest.raises(RateLimitError) as raised:
        ask(openai_client, "groq/fault-429-wait-42")

    assert (raised.value.code, raised.value.type) == ("providers_busy", "rate_limit_error")
    assert raised.value.response.headers["Retry-After"] == "42"


def test_the_packages_own_retry_waits_for_retry_after(openai_client, fake, acme):
    limited(acme, concurrent_turns=1)
    fake.script(model="occupies-the-only-place", fault="stall-after-1")
    running = ask(openai_client, "groq/occupies-the-only-place", stream=True)
    refused_at, retried_at = [], []

    def watch(response) -> None:
        if response.status_code == 429 and not refused_at:
            refused_at.append(time.monotonic())
            assert response.headers["Retry-After"] == "1"
            running.close()
        elif refused_at and not retried_at:
            retried_at.append(time.monotonic())

    http = DefaultHttpxClient(event_hooks={"response": [watch]})
    with openai_client.with_options(http_client=http, max_retries=8) as patient:
        assert ask(patient).choices[0].message.content
    # Without the header its first pause is at most half a second.
    assert retried_at[0] - refused_at[0] >= 1


# -- limits -----------------------------------------------------------------------------------------


def test_a_used_up_minute_is_a_rate_limit_error_with_headers(openai_client, fake, acme):
    limited(acme, requests_per_minute=1)
    ask(openai_client)

    with pytest.raises(RateLimitError) as raised:
        ask(openai_client)
    headers = raised.value.response.headers
    assert (raised.value.code, raised.value.type) == ("rate_limited", "rate_limit_error")
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert len(fake.log()) == 1


def test_responses_have_the_rate_limit_headers(openai_client, acme):
    limited(acme, requests_per_minute=5)

    response = openai_client.chat.completions.with_raw_response.create(model="default", messages=HELLO)
    assert response.headers["RateLimit-Policy"] == '"minute";q=5;w=60'
    assert response.headers["RateLimit"].startswith('"minute";r=4;t=')
    assert response.headers["X-RateLimit-Remaining"] == "4"


@pytest.mark.parametrize("limit", ["messages_per_month", "tokens_per_month", "cost_per_month"])
def test_a_used_up_month_is_a_rate_limit_error(openai_client, fake, acme, limit):
    limited(acme, **{limit: 0})

    with pytest.raises(RateLimitError) as raised:
        ask(openai_client, "groq/openai/gpt-oss-120b", stream=True)
    assert raised.value.code == "quota_exceeded"
    assert not fake.log()
    settled_usage(acme)
