"""Every regular expression of the product takes linear time, whatever text it is given.

They are collected from the source and from the URL configuration: a new one is tested without being listed.
"""

from __future__ import annotations

import re

import pytest

import config.environment
from qa.hostile.cost import LENGTHS, SHORT_LENGTHS, slowest
from qa.hostile.patterns import Pattern, product_patterns, seeds


def slowest_text(pattern: Pattern, lengths: tuple[int, ...] = LENGTHS) -> str | None:
    return slowest(pattern.apply, pattern.hostile_texts, lengths=lengths)


@pytest.mark.parametrize("lengths", [SHORT_LENGTHS, pytest.param(LENGTHS, marks=pytest.mark.proof)])
def test_every_pattern_takes_linear_time(lengths):
    problems = [
        f"{pattern.place}: {problem}"
        for pattern in product_patterns()
        if (problem := slowest_text(pattern, lengths))
    ]
    assert not problems, "\n".join(problems)


def test_patterns_of_all_kinds_are_found():
    found = {pattern.place.partition(":")[0] for pattern in product_patterns()}
    assert {"core.logs", "core.api.middleware", "chat.openai.request", "llm.providers.stream.body"} <= found
    assert any(place.startswith("URL ") for place in found)


@pytest.mark.parametrize(
    ("regex", "method"),
    [
        (r"\b eyJ[\w-]{8,}\.[\w-]+".replace(" ", ""), "sub"),
        (r"(a+)+$", "search"),
        (r"^(\d+)*x", "match"),
        (r"\s+$", "search"),
        (r"[a-z]+@", "search"),
        (r"(?:key|secret)[\w=]*;", "search"),
        (r"(?x) [0-9]+ [0-9]+ [0-9]+ !", "search"),
    ],
)
def test_slow_patterns_are_noticed(regex, method):
    assert slowest_text(Pattern("here", re.compile(regex), (method,)), SHORT_LENGTHS)


def test_seeds_are_what_a_pattern_may_begin_with_and_repeat():
    assert {"eyJ", "ab", "x", "0"} <= seeds(re.compile(r"\beyJ|a(?:b)c|[xy]\d+"))


def test_the_methods_of_a_pattern_are_found_although_it_was_compiled_again():
    """`re` returns the same object only as long as it is in its cache."""
    re.purge()
    [duration] = [pattern for pattern in product_patterns() if pattern.regex == config.environment._DURATION]
    assert duration.methods == ("fullmatch",)
