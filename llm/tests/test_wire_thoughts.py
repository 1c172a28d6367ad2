"""Thoughts in tags, split at every position, and thoughts of which only the closing tag comes."""

import json
import time

import pytest

from llm.canonical import Reasoning, Retracted, Target, Text
from llm.providers.completion_builder import CompletionBuilder
from llm.providers.text import ThinkFilter
from llm.tests.bodies import END, chunk
from qa.testing.llm import asking

UNOPENED = "Easy, 4.\n</think>\n\nThe answer is 4."


def stream_of(text, size):
    return "".join(chunk(text[start : start + size]) for start in range(0, len(text), size)) + END


def read(pieces, **options):
    """Return (reasoning, answer) that a client is left with."""
    separated = ThinkFilter(**options)
    reasoning = answer = ""
    retracted = False
    for piece in [*pieces, None]:
        thought, text = separated.close() if piece is None else separated.feed(piece)
        if separated.retracts and not retracted:
            retracted, reasoning, answer = True, reasoning + answer, ""
        reasoning, answer = reasoning + thought, answer + text
    return reasoning, answer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 500])
def test_thoughts_without_an_opening_tag_are_taken_back(answers, size):
    outcome = answers(stream_of(UNOPENED, size))
    completion = outcome.completion
    assert (completion.text, completion.reasoning) == ("The answer is 4.", "Easy, 4.\n")
    assert (Retracted() in outcome.events) is any(
        isinstance(event, Text) and event.text.startswith("E") for event in outcome.events
    )


def test_thoughts_of_one_piece_are_never_shown(answers):
    outcome = answers(stream_of(UNOPENED, 500))
    assert outcome.events[:2] == [Reasoning("Easy, 4.\n"), Text("The answer is 4.")]


def test_thoughts_of_a_whole_answer_are_hidden(answers):
    message = {"message": {"content": UNOPENED}, "finish_reason": "stop"}
    completion = answers(json.dumps({"choices": [message]}), stream=False).completion
    assert (completion.text, completion.reasoning) == ("The answer is 4.", "Easy, 4.\n")


@pytest.mark.parametrize("text", [UNOPENED, "<think>Easy, 4.\n</think>\n\nThe answer is 4."])
@pytest.mark.parametrize("opened", [False, True])
def test_thoughts_may_be_split_at_every_position(text, opened):
    expected = ("Easy, 4.\n", "The answer is 4.")
    for first in range(len(text)):
        for second in range(first, len(text)):
            assert read([text[:first], text[first:second], text[second:]], opened=opened) == expected


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("</think>The answer.", "The answer."),
        ("\n\n</think>\n\nThe answer.", "The answer."),
        ("Hm.</think>The answer.", "The answer."),
        ("a < b, 4 </ 5\n</think>\nThe `</think>` tag.", "The `</think>` tag."),
        ("Hm.</think>One.</think>Two.", "One.</think>Two."),
        ("Hm.</think>\n<think>More.</think>The answer.", "The answer."),
        ("`a` and `b`.\n</think>\nThe answer.", "The answer."),
        ("Hm.\n</think>", ""),
    ],
)
def test_everything_before_the_first_closing_tag_is_thoughts(text, answer):
    for size in (1, 2, 5, len(text)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert read(pieces)[1] == answer


@pytest.mark.parametrize(
    "text",
    [
        "The tag `</think>` closes thoughts.",
        "```\n<b>\n</think>\n```\nThat is it.",
        'It ends with "</think>".',
        "First <think> opens, then </think> closes.",
        "a < b, c </d, </thin> and </thinking",
        "</thi",
        "1 <",
        "<",
    ],
)
def test_tags_that_an_answer_discusses_are_text(text):
    for size in (1, 2, 5, len(text)):
        assert read([text[start : start + size] for start in range(0, len(text), size)]) == ("", text)


@pytest.mark.parametrize("model", ["deepseek-r1:7b", "QwQ-32B", "Qwen3-30B-A3B-Thinking-2507"])
def test_models_that_open_their_thoughts_in_the_prompt_show_none(answers, model):
    outcome = answers(stream_of(UNOPENED, 2), name="openai_compatible", model=model)
    assert outcome.completion.text == "The answer is 4."
    assert Retracted() not in outcome.events
    plain = answers(stream_of("Only an answer.", 2), name="openai_compatible", model=model)
    assert (plain.completion.text, plain.completion.reasoning) == ("Only an answer.", "")


def test_such_a_model_whose_server_separates_its_thoughts_streams_its_answer(answers):
    body = chunk(delta={"reasoning": "hm"}) + chunk("The ") + chunk("answer.") + END
    outcome = answers(body, name="openai_compatible", model="deepseek-r1")
    assert (outcome.completion.text, outcome.completion.reasoning) == ("The answer.", "hm")


def test_text_that_cannot_be_taken_back_stays_as_it_is():
    builder = CompletionBuilder(asking(), Target("groq", "m"))
    builder.can_restart = False
    builder.add_text("Easy, 4.\n")
    events = builder.take_events()
    for piece in ("</th", "ink>\n\nThe ", "answer is 4."):
        builder.add_text(piece)
    builder.close()
    events += builder.take_events()
    assert not any(isinstance(event, Reasoning | Retracted) for event in events)
    assert "".join(event.text for event in events) == builder.text == UNOPENED


@pytest.mark.parametrize("text", ["<" * 65536, "</think" * 9000, '"</think>' * 7000, "`</think>" * 7000])
def test_time_is_linear_in_the_length(text):
    began = time.thread_time()
    for size in (7, len(text)):
        read([text[start : start + size] for start in range(0, len(text), size)])
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
        {"type": "thinking", "thinking": ["h", "m"]},
        {"type": "thinking", "thinking": "hm"},
        {"type": "reasoning", "text": "hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_in_parts_of_the_content_are_reasoning(answers, part, stream):
    content = [part, {"type": "text", "text": "4"}]
    body = chunk(None, "stop", delta={"content": content})
    if not stream:
        body = body.removeprefix("data: ").strip().replace('"delta"', '"message"')
    completion = answers(body, stream=stream).completion
    assert (completion.text, completion.reasoning) == ("4", "hm")


@pytest.mark.parametrize(
    "thinking", [None, 7, [], [None], {}, [{"type": "text"}], [[[[["deep"]]]]]], ids=repr
)
def test_thoughts_that_are_no_text_are_none(answers, thinking):
    content = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "4"}]
    completion = answers(chunk(None, "stop", delta={"content": content})).completion
    assert (completion.text, completion.reasoning) == ("4", "")


@pytest.mark.parametrize("value", ["hm", ["hm"], [{"type": "text", "text": "hm"}], {"text": "hm"}], ids=repr)
def test_reasoning_is_read_in_every_form(answers, value):
    completion = answers(chunk(delta={"reasoning_content": value}) + chunk("4") + END).completion
    assert (completion.text, completion.reasoning) == ("4", "hm")
