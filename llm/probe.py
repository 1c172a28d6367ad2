"""Tests providers with real calls, whole and streamed.

Shared by `manage.py test_providers` and `POST /api/llm/test`. Each call goes to the provider
once: no route, retry or circuit breaker hides what it does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from llm import errors
from llm.canonical import Message, Request
from llm.catalogue import catalogue
from llm.policy import Policy
from llm.providers.base import Provider
from llm.receipt import with_usage

#: Has a short answer, with tokens to spare for models that reason first.
QUESTION = Request(messages=(Message("user", "Reply with the single word: ready"),), max_tokens=400)

MAX_REPLY_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One call. `reply` is the beginning of the answer; `problem` says what to do, "" for success."""

    stream: bool
    ok: bool
    latency_ms: int
    first_token_ms: int | None = None
    model_used: str = ""
    reply: str = ""
    kind: str = ""
    problem: str = ""
    #: What the call used, and its cost in USD; None where the price is not known.
    tokens: int = 0
    cost: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The calls to one provider; `ok` is None if it is not configured."""

    provider: str
    label: str
    model: str
    configured: bool
    ok: bool | None
    problem: str
    checks: tuple[Check, ...] = ()


def probe(tested: Sequence[Provider], model: str = "", policy: Policy | None = None) -> list[Result]:
    """Return one result per provider, in order; all calls run at once.

    `model` replaces the providers' default model.
    """
    policy = policy or Policy.from_settings()
    with ThreadPoolExecutor(max_workers=max(1, 2 * len(tested))) as pool:
        calls = {
            provider.name: [
                pool.submit(_check, provider, model or provider.model, stream, policy)
                for stream in (False, True)
            ]
            for provider in tested
            if provider.configured
        }
        return [
            _result(provider, model, [call.result() for call in calls.get(provider.name, [])])
            for provider in tested
        ]


def _result(provider: Provider, model: str, checks: list[Check]) -> Result:
    problem = next((check.problem for check in checks if not check.ok), "")
    if not provider.configured:
        problem = f"Not configured: set {_missing_setting(provider)}."
    return Result(
        provider=provider.name,
        label=provider.label,
        model=model or provider.model,
        configured=provider.configured,
        ok=all(check.ok for check in checks) if provider.configured else None,
        problem=problem,
        checks=tuple(checks),
    )


def _check(provider: Provider, model: str, stream: bool, policy: Policy) -> Check:
    began = time.monotonic()
    first_token_ms = None
    try:
        if not model:
            raise errors.NotConfigured(f"No model is set: set {provider.name.upper()}_MODEL.")
        call = provider.open(QUESTION, model, stream=stream, limits=policy.limits(policy.total_seconds))
        try:
            completion = call.complete()
        finally:
            call.close()
            first_token_ms = call.first_token_ms if stream else None
    except errors.ProviderError as error:
        return Check(
            stream, False, _ms(began), first_token_ms, kind=error.kind, problem=_advice(error, provider)
        )
    usage = with_usage(completion, QUESTION).usage
    cost, _ = catalogue().cost(completion.target, usage)
    return Check(
        stream,
        True,
        _ms(began),
        first_token_ms,
        model_used=completion.model_used,
        reply=completion.text[:MAX_REPLY_SHOWN],
        tokens=usage.total,
        cost=None if cost is None else f"{cost:f}",
    )


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _missing_setting(provider: Provider) -> str:
    kind = "API_KEY" if provider.needs_key and not provider.api_key else "BASE_URL"
    return f"{provider.name.upper()}_{kind}"


def _advice(error: errors.ProviderError, provider: Provider) -> str:
    """Return a sentence that says what the operator can do about the error."""
    name = provider.name.upper()
    match error:
        case errors.NotConfigured():
            return str(error)
        case errors.Unauthorized():
            return f"Wrong key: {provider.label} refused {name}_API_KEY."
        case errors.BillingRefused():
            return f"No credit: {provider.label} requires payment, its credit or budget is used up."
        case errors.ModelNotFound():
            return f"Model gone: {error} `manage.py models --provider {provider.name}` lists what it serves."
        case errors.Unreachable():
            return f"Network: {error}"
        case errors.ProviderSilent():
            return f"No answer in time: {error}"
        case errors.RateLimited():
            return f"Rate limit: {error}"
        case _:
            return str(error)
