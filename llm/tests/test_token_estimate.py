"""The estimate holds against true counts, for scripts, code, emoji and base64, and any mixture of them.

`token_counts.json` has texts with their tokens as counted by real tokenizers (2026-11): o200k and cl100k of
OpenAI (js-tiktoken 1.0.21), tekken of Mistral (mistral-common 1.12.0).
"""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm import estimate
from llm.canonical import Media, Message, Request
from llm.token_estimate import message_tokens, most_tokens, request_tokens, tokens
from llm.windows import answer_room, with_fitting_history

COUNTS = json.loads(Path(__file__).with_name("token_counts.json").read_text(encoding="utf-8"))

#: Of o200k: never fewer, never twice as many.
LEAST, MOST = 1.0, 2.0

#: Tekken counts each digit, and has no tokens for some scripts: as few as this part is estimated.
LEAST_OF_TEKKEN = {
    **dict.fromkeys(["digits", "numbers", "csv"], 0.5),
    **dict.fromkeys(["khmer", "sinhala", "odia"], 0.2),
    **dict.fromkeys(
        ["amharic", "gujarati", "punjabi", "lao", "math", "punctuation", "emoji", "random_caps"], 0.7
    ),
}

names = st.sampled_from(sorted(COUNTS))
texts = st.lists(names, min_size=1, max_size=8)


@pytest.mark.parametrize("name", COUNTS)
def test_estimate_of_every_kind_of_text_is_within_its_bounds(name):
    text, truth = COUNTS[name]["text"], COUNTS[name]["o200k"]
    repeats = max(1, 1000 // len(text))
    counted = tokens("\n".join([text] * repeats))
    least, most = truth * repeats * LEAST, (truth + 1) * repeats * MOST
    assert least <= counted <= most, counted / (truth * repeats)
    assert counted >= COUNTS[name]["tekken"] * repeats * LEAST_OF_TEKKEN.get(name, 0.9)


@pytest.mark.parametrize("name", COUNTS)
def test_count_of_what_was_not_reported_is_near_the_truth(name):
    repeats = max(1, 1000 // len(COUNTS[name]["text"]))
    truth = COUNTS[name]["o200k"] * repeats
    assert 0.7 * truth <= estimate.tokens("\n".join([COUNTS[name]["text"]] * repeats)) <= 1.5 * truth


@given(texts)
@settings(max_examples=200, deadline=None)
def test_estimate_of_any_mixture_is_within_its_bounds(mixture):
    text = "\n".join(COUNTS[name]["text"] for name in mixture)
    truth = sum(COUNTS[name]["o200k"] for name in mixture)
    assert truth * LEAST <= tokens(text) <= (truth + len(mixture)) * MOST


@given(st.lists(st.tuples(names, st.booleans()), min_size=1, max_size=30), st.integers(1500, 20_000))
@settings(max_examples=200, deadline=None)
def test_history_is_never_over_the_window_and_never_wastes_half_of_it(drawn, window):
    messages = [Message("user", COUNTS[name]["text"], parts=IMAGE if image else ()) for name, image in drawn]
    truths = [COUNTS[name]["o200k"] + (TRUE_IMAGE if image else 0) for name, image in drawn]
    request = with_fitting_history(Request((*messages, Message("user", "ok")), history=len(messages)), window)
    used = sum(truths[len(messages) - request.history :]) + answer_room(request, window)
    assert used <= window
    if request.history < len(messages):
        # What would have been sent next did not fit by twice its size, and that of the rest.
        largest = truths[len(messages) - request.history - 1]
        overhead = 10 * (request.history + 2) + OF_IMAGES * sum(image for _, image in drawn)
        assert (used + largest) * MOST + overhead >= window


IMAGE = (Media("image", "https://a.example/b.png"),)
#: Of a large image, at OpenAI; other providers count fewer.
TRUE_IMAGE = 1100
OF_IMAGES = 600


@pytest.mark.parametrize(
    "text", ["", "a", "\n", "日", "😀", "\ud800", "\x00", "a" * 10, " " * 500, "-" * 500]
)
def test_no_text_is_too_odd(text):
    assert 0 <= tokens(text) <= len(text.encode(errors="replace")) * 4 + 1
    assert bool(tokens(text)) is bool(text)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_estimate_grows_with_the_text_and_has_an_upper_bound(text):
    assert tokens(text) <= 4 * len(text.encode(errors="replace")) + 1
    request = Request((Message("user", text),))
    assert request_tokens(request) <= 3 * most_tokens(request) + 50


def test_images_count_by_their_number_and_not_by_their_text():
    embedded = Message("assistant", f"![image](data:image/png;base64,{'A' * 100_000})")
    attached = Message(
        "user", "Look", parts=("Look", Media("image", f"data:image/png;base64,{'A' * 100_000}"))
    )
    for message in (embedded, attached):
        assert 1000 < message_tokens(message) < 3000


@pytest.mark.parametrize(
    "kind", ["english", "python", "chinese", "thai", "base64", "emoji", "spaces", "digits"]
)
def test_a_megabyte_is_estimated_at_once(kind):
    text = COUNTS[kind]["text"]
    text *= 1_000_000 // len(text)
    began = time.thread_time()
    tokens(text)
    assert time.thread_time() - began < 1
