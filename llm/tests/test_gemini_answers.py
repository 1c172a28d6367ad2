"""Responses of Gemini, over real sockets."""

import json

import pytest

from llm import errors
from llm.canonical import Usage
from llm.tests.bodies import part


def test_gemini_reasoning_is_separated_from_the_text(answers):
    body = part({"text": "hm", "thought": True}) + part("It ", "is ") + part("4.") + part("", finish="STOP")
    completion = answers(body, name="gemini").completion
    assert (completion.text, completion.reasoning, completion.finish) == ("It is 4.", "hm", "stop")


def test_gemini_reasoning_counts_as_output_and_the_last_usage_is_kept(answers):
    early = {"promptTokenCount": 9, "totalTokenCount": 9}
    late = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
    }
    body = part("a", usageMetadata=early) + part("", finish="STOP", usageMetadata=late)
    assert answers(body, name="gemini").completion.usage == Usage(input=12, output=12, cached=4, reasoning=7)


@pytest.mark.parametrize("candidates", [None, [], [{}], [{"content": {}}], [{"content": {"parts": None}}]])
def test_gemini_may_omit_content(answers, candidates):
    odd = f"data: {json.dumps({'candidates': candidates})}\r\n\r\n"
    assert answers(odd + part("a") + odd + part("", finish="STOP"), name="gemini").completion.text == "a"


def test_gemini_empty_answer_at_the_token_limit_is_accepted(answers):
    body = 'data: {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}\r\n\r\n'
    completion = answers(body, name="gemini").completion
    assert (completion.text, completion.finish) == ("", "length")


def test_gemini_block_without_candidates_is_blocked(answers):
    body = 'data: {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}\r\n\r\n'
    error = answers(body, name="gemini").error
    assert type(error) is errors.Blocked
    assert "PROHIBITED_CONTENT" in str(error)


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"]
)
def test_gemini_block_after_text_keeps_the_text(answers, reason):
    outcome = answers(part("so far") + part(finish=reason), name="gemini")
    assert type(outcome.error) is errors.Blocked
    assert outcome.partial.text == "so far"


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "BRAND_NEW"])
def test_gemini_failure_reasons_are_a_bad_reply(answers, reason):
    assert type(answers(part("a", finish=reason), name="gemini").error) is errors.BadReply


@pytest.mark.parametrize("wrapped", [False, True])
def test_gemini_error_comes_as_an_event_or_bare(answers, wrapped):
    error = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}})
    body = part("a") + f"data: {error}\r\n\r\n" if wrapped else f"[{error}]"
    assert type(answers(body, name="gemini").error) is errors.Overloaded
