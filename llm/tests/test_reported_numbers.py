"""Numbers that providers report: absurd ones are refused when read, and estimated instead."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from decimal import Decimal

import pytest

from llm.canonical import Target, Usage
from llm.catalogue import catalogue
from llm.providers import retry_after
from llm.providers.error_responses import MAX_RETRY_SECONDS
from llm.providers.json_values import MAX_TOKENS, as_count, as_usd
from llm.receipt import with_usage
from llm.tests.bodies import DONE, chunk, part
from qa.testing.llm import asking

ABSURD_COUNTS = [
    "-1",
    str(MAX_TOKENS + 1),
    str(2**53),
    str(2**62),
    str(2**63 - 1),
    str(9 * 10**18),
    str(10**30),
    "1e30",
    "1e400",
    "9" * 5000,
    "NaN",
    "Infinity",
    "true",
    "[7]",
    '{"count": 7}',
    '"many"',
    '"1e30"',
    '"' + "9" * 5000 + '"',
    '"1e-50000000x"',
]

ABSURD_COSTS = [
    "-0.1",
    "1e30",
    "9" * 5000,
    "NaN",
    "-Infinity",
    "true",
    "[]",
    '{"usd": 1}',
    '"1e-6200"',
    '"1e-50000000"',
    '"1e50000000"',
    '"-1e-50000000"',
    '"' + "0" * 5000 + '1"',
    '"sNaN"',
]


def wire(name: str, usage: str, *, stream: bool) -> str:
    """Return an answer "a" in the provider's format with the JSON text `usage`, spliced in unchanged."""
    gemini = name == "gemini"
    body = part("a", finish="STOP", usageMetadata="@") if gemini else chunk("a", "stop", usage="@")
    text = body.replace('"@"', usage)
    if stream:
        return text if name == "gemini" else text + DONE
    return text.removeprefix("data: ").strip().replace('"delta"', '"message"')


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter", "openai_compatible", "local"])
def test_absurd_counts_are_not_read_and_the_answer_is_kept(answers, name, stream):
    fields = {"gemini": ("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount")}.get(
        name, ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    for count in ABSURD_COUNTS:
        usage = "{" + ", ".join(f'"{field}": {count}' for field in fields) + "}"
        completion = answers(wire(name, usage, stream=stream), name=name, stream=stream).completion
        assert completion is not None, count
        assert (completion.text, completion.usage) == ("a", Usage()), count


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_absurd_costs_are_not_read_and_the_answer_is_kept(answers, stream):
    for cost in ABSURD_COSTS:
        usage = f'{{"prompt_tokens": 4, "completion_tokens": 2, "cost": {cost}}}'
        completion = answers(
            wire("openrouter", usage, stream=stream), name="openrouter", stream=stream
        ).completion
        assert completion is not None, cost
        assert completion.usage == Usage(input=4, output=2), cost


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (7.9, 7), ("7", 7), (" 12 ", 12), ("1e3", 1000), (MAX_TOKENS, MAX_TOKENS), (None, None)],
)
def test_counts_are_read_from_numbers_and_text(value, count):
    assert as_count(value) == count


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, "0"),
        ("0.5", "0.5"),
        (0.00042, "0.00042"),
        ("0.00001234567890123456789012345678901234567890", "0.0000123457"),
        ("0.0000000001", "0.0000000001"),
        (99_999, "99999"),
    ],
)
def test_amounts_are_rounded_to_what_the_ledger_stores(value, amount):
    assert as_usd(value) == Decimal(amount)
    assert len(str(as_usd(value))) < 20


def test_an_integer_that_python_cannot_print_is_no_amount():
    assert as_usd(10 ** (sys.get_int_max_str_digits() + 1)) is None


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (Usage(output=7), replace(Usage(), input=9, output=7, estimated=True)),
        (Usage(input=9), replace(Usage(), input=9, output=2, estimated=True)),
        (Usage(input=9, output=7), Usage(input=9, output=7)),
    ],
)
def test_the_side_that_was_not_reported_is_estimated(answers, reported, expected):
    completion = replace(answers(chunk("a", "stop") + DONE).completion, usage=reported)
    assert with_usage(completion, asking("Hello there")).usage == expected


def test_no_more_output_is_estimated_than_was_asked_for(answers):
    completion = answers(chunk("many words, of which each is a token " * 9, "length") + DONE).completion
    assert with_usage(completion, asking(max_tokens=5)).usage.output == 5


def test_a_whole_part_of_geminis_sum_that_is_absurd_makes_the_sum_unknown(answers):
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 10**30}
    assert answers(part("a", finish="STOP", usageMetadata=usage), name="gemini").completion.usage == Usage(
        input=5
    )


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0360795}}, "0.0360795"),
        (
            {"cost": 0.0018, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0360795}},
            "0.0378795",
        ),
        ({"cost": 0.0018, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.01}}, "0.0018"),
        ({"cost": 0.0018, "cost_details": {"upstream_inference_cost": None}}, "0.0018"),
        (
            {
                "cost": 0.001,
                "is_byok": True,
                "cost_details": {
                    "upstream_inference_cost": None,
                    "upstream_inference_prompt_cost": 0.002,
                    "upstream_inference_completions_cost": 0.03,
                },
            },
            "0.033",
        ),
        ({"cost": 0, "is_byok": True}, None),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 1e30}}, None),
    ],
)
def test_with_an_own_key_at_the_host_openrouters_cost_includes_the_hosts(answers, usage, cost):
    tokens = {"prompt_tokens": 4000, "completion_tokens": 2000}
    body = chunk("a", "stop", usage={**tokens, **usage}) + DONE
    completion = answers(body, name="openrouter").completion
    assert completion.usage.cost == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("target", "cost"),
    [
        (Target("groq", "openai/gpt-oss-120b"), "0.1125"),  # half of 0.15
        (Target("gemini", "gemini-3.5-flash-lite"), "0.165"),  # a tenth of 0.30
        (Target("groq", "qwen/qwen3.8-27b"), "0.80"),  # no price of its own
    ],
)
def test_cached_input_has_its_own_price(target, cost):
    assert catalogue().cost(target, Usage(input=1_000_000, cached=500_000))[0] == Decimal(cost)


@pytest.mark.parametrize(
    "cached",
    [
        {"prompt_tokens_details": {"cached_tokens": 800}},
        {"prompt_tokens_details": None, "prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200},
        {"cached_tokens": 800},
        {"cache_read_input_tokens": 800},
        {"prompt_tokens_details": {}, "num_cached_tokens": 800},
    ],
)
def test_cached_input_is_read_in_every_form(answers, cached):
    usage = {"prompt_tokens": 1000, "completion_tokens": 5, **cached}
    body = chunk("a", "stop", usage=usage) + DONE
    completion = answers(body, name="openai_compatible").completion
    assert completion.usage == Usage(input=1000, output=5, cached=800)


def test_more_cached_tokens_than_input_cost_no_more_than_the_input():
    usage = Usage(input=1_000_000, cached=MAX_TOKENS)
    assert catalogue().cost(Target("groq", "openai/gpt-oss-120b"), usage)[0] == Decimal("0.075")


@pytest.mark.parametrize(
    "text",
    ["-1", "1e308", "1e400", "9" * 400, str(2**63), "1764247200", "NaN", "inf", "9" * 400 + "h",
     "Fri, 31 Dec 9999 23:59:59 -1400",
     "Mon, 01 Jan 0001 00:00:00 +1400", "Mon, 01 Jan 0001 00:00:00 -0000", "{}"],
)  # fmt: skip
def test_delays_are_finite(text):
    headers = {"Retry-After": text, "retry-after-ms": text}
    for seconds in (retry_after.seconds_of(text), retry_after.from_headers(headers)):
        assert seconds is None or 0 <= seconds < math.inf


@pytest.mark.parametrize("retry", ["1e308", "-1", "9" * 400, "NaN", str(2**63)])
def test_an_absurd_delay_is_not_given_to_the_client(answers, retry):
    body = json.dumps({"error": {"message": "slow down", "code": 429}})
    error = answers(body, status=429, headers={"Retry-After": retry}).error
    assert error.kind == "rate_limit"
    assert (error.retry_after_seconds or 0) <= MAX_RETRY_SECONDS
