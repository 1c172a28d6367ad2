"""Finish reasons, reasoning, usage and errors of responses, over real sockets."""

import json
from decimal import Decimal

import pytest

from llm import errors
from llm.canonical import Usage
from llm.tests.bodies import DONE, END, chunk, part

# -- Finishing ----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["clean", "close"])
def test_end_without_a_finish_reason_is_a_bad_reply(answers, end):
    outcome = answers(chunk("half of"), end=end)
    assert type(outcome.error) is errors.BadReply
    assert outcome.text == outcome.partial.text == "half of"


def test_reset_is_a_network_error_and_keeps_the_partial_answer(answers):
    outcome = answers(chunk("half of"), end="reset")
    assert type(outcome.error) is errors.Unreachable
    assert outcome.partial.text == "half of"


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
def test_finished_answer_survives_a_broken_end_of_its_body(answers, end):
    body = part("whole", finish="STOP")
    assert answers(body, name="gemini", end=end).completion.text == "whole"


def test_answer_of_known_length_that_ends_early_is_a_bad_reply(answers):
    body = json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert answers(head + body, framed=False, end="close").completion.text == "a"
    assert type(answers(head + body[:-9], framed=False, end="close").error) is errors.BadReply


def test_null_does_not_overwrite_the_finish_reason(answers):
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "cost": 0.01}
    body = chunk("a") + chunk("", "length") + chunk("", None, usage=usage) + DONE
    completion = answers(body, name="openrouter").completion
    assert completion.finish == "length"
    assert completion.usage == Usage(input=4, output=2, cost=Decimal("0.01"))


@pytest.mark.parametrize("late", ["late", " and more"])
def test_text_after_the_finish_reason_counts(answers, late):
    assert answers(chunk("a", "stop") + chunk(late) + DONE).completion.text == "a" + late


def test_role_in_every_delta_and_null_content_are_accepted(answers):
    body = chunk(delta={"role": "assistant", "content": None})
    body += "".join(chunk(delta={"role": "assistant", "content": letter}) for letter in "abc")
    assert answers(body + END).completion.text == "abc"


def test_content_may_be_a_list_of_parts(answers):
    parts = [
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "b"},
    ]
    completion = answers(chunk(delta={"content": parts}) + END).completion
    assert (completion.text, completion.reasoning) == ("ab", "hm")


def test_empty_answer_is_a_bad_reply_but_its_usage_is_kept(answers):
    outcome = answers(chunk("", "stop", usage={"prompt_tokens": 3, "completion_tokens": 1}) + DONE)
    assert type(outcome.error) is errors.BadReply
    assert outcome.partial.usage == Usage(input=3, output=1)


def test_model_used_may_differ_and_unknown_cost_is_none(answers):
    completion = answers(chunk("a", model="another/one") + chunk("", "stop", model="another/one")).completion
    assert (completion.model_used, completion.response_id) == ("another/one", "c1")
    assert completion.usage.cost is None


# -- Reasoning -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_think_tags_are_separated_from_the_answer(answers, size):
    text = "\n<think>is it <b>4</b>?\n</think>\n\nIt is 4. A <think> tag inside stays."
    body = "".join(chunk(text[start : start + size]) for start in range(0, len(text), size))
    completion = answers(body + END).completion
    assert completion.text == "It is 4. A <think> tag inside stays."
    assert completion.reasoning == "is it <b>4</b>?\n"


def test_beginning_that_resembles_a_think_tag_is_text(answers):
    assert answers(chunk("<thi") + chunk("s> is") + END).completion.text == "<this> is"
    assert answers(chunk("<th") + END).completion.text == "<th"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_is_separated_from_text(answers, field):
    outcome = answers(chunk(delta={field: "hm"}) + chunk("4") + END)
    assert (outcome.completion.text, outcome.completion.reasoning) == ("4", "hm")


def test_reasoning_alone_at_the_token_limit_is_accepted(answers):
    completion = answers(chunk(delta={"reasoning": "hm"}) + chunk("", "length") + DONE).completion
    assert (completion.text, completion.finish) == ("", "length")


# -- Usage ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ([{"prompt_tokens": 7}], Usage()),
        ({"prompt_tokens": "7", "completion_tokens": "3"}, Usage(input=7, output=3)),
        ({"prompt_tokens": 7, "total_tokens": 10}, Usage(input=7, output=3)),
        ({"completion_tokens": 3, "total_tokens": 10}, Usage(input=7, output=3)),
        ({"prompt_tokens": -5, "completion_tokens": True}, Usage()),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(input=7, output=3, cached=4, reasoning=2),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None},
            Usage(input=7, output=3),
        ),
    ],
)
def test_usage_may_be_absent_partial_or_text(answers, usage, expected):
    tail = f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
    assert answers(chunk("a") + chunk("", "stop") + tail + DONE).completion.usage == expected


def test_usage_that_comes_twice_counts_once(answers):
    body = chunk("a", usage={"prompt_tokens": 7, "completion_tokens": 1})
    body += chunk("", "stop", usage={"prompt_tokens": 7, "completion_tokens": 3})
    assert answers(body).completion.usage == Usage(input=7, output=3)


# -- Errors inside a stream ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "busy", "code": 503}, errors.Overloaded),
        ({"message": "slow down", "code": "429"}, errors.RateLimited),
        ({"message": "long", "code": "context_length_exceeded"}, errors.ContextTooLong),
        ({"message": "bad call", "code": "tool_use_failed", "status_code": 400}, errors.BadReply),
        ({"message": "x", "metadata": {"error_type": "provider_unavailable"}}, errors.Overloaded),
        ("plain words", errors.BadReply),
        (["list", "of"], errors.BadReply),
        ([{"message": "in a list", "code": 500}], errors.Overloaded),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", ["event", "beside choices", "alone", "whole"])
def test_error_inside_an_answer_is_raised_by_its_kind(answers, error, kind, shape):
    body = json.dumps({"error": error})
    if shape == "event":
        body = f"event: error\ndata: {body}\n\n"
    elif shape == "beside choices":
        body = chunk("", None, error=error) + DONE
    elif shape == "alone":
        body = f"data: {body}\n\n"
    before = "" if shape == "whole" else chunk("so far")
    outcome = answers(before + body)
    assert type(outcome.error) is kind
    assert outcome.text == ("" if shape == "whole" else "so far")


def test_error_event_may_be_plain_text(answers):
    outcome = answers(chunk("a") + "event: error\ndata: it broke\n\n")
    assert type(outcome.error) is errors.BadReply
    assert outcome.error.detail == "it broke"


def test_usage_beside_an_error_is_kept(answers):
    outcome = answers(chunk("a", None, error={"code": 502}, usage={"prompt_tokens": 5}))
    assert type(outcome.error) is errors.Overloaded
    assert outcome.partial.usage.input == 5


@pytest.mark.parametrize(
    "body",
    [
        chunk("no ") + chunk("", "content_filter") + DONE,
        chunk("no ") + chunk("", "refusal") + DONE,
    ],
    ids=["filter", "refusal"],
)
def test_filter_is_blocked_and_keeps_the_partial_answer(answers, body):
    outcome = answers(body)
    assert type(outcome.error) is errors.Blocked
    assert (outcome.partial.text, outcome.partial.finish) == ("no ", "blocked")


IMAGE = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("form", ["images", "parts", "gemini"])
def test_an_answer_that_is_only_an_image_is_whole(answers, fake, form, stream):
    picture = {"type": "image_url", "image_url": {"url": IMAGE}}
    if form == "gemini":
        data = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
        body = part(data, finish="STOP")
    else:
        fields = {"content": "", "images": [picture]} if form == "images" else {"content": [picture]}
        body = chunk(None, "stop", delta=fields)
    if not stream:
        body = body.removeprefix("data: ").strip().replace('"delta"', '"message"')
    outcome = answers(body, name="gemini" if form == "gemini" else "openrouter", stream=stream)
    assert outcome.completion.text == f"![image]({IMAGE})"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://a/", "https://a/)x", "data:text/html,x", 7, None]
)
def test_what_is_no_address_of_an_image_is_not_shown(answers, url):
    delta = {"content": "x", "images": [{"image_url": {"url": url}}, 7]}
    assert answers(chunk(None, "stop", delta=delta) + DONE).completion.text == "x"
