"""What is an end, a cut, a length limit and a filter, over real sockets."""

import json

import pytest

from llm import errors
from llm.canonical import Usage
from llm.providers.finish_reasons import finish_of, is_by_model
from llm.tests.bodies import DONE, calls, chunk, fragment, part
from qa.testing.llm import CLOCK, asking

ENDINGS = ["stop", "STOP", "end_turn", "endTurn", "eos", "EOS_TOKEN", "stop_sequence", "COMPLETE", "Stop "]
LENGTHS = ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "maxTokens", "model_length", "max_output_tokens"]
LENGTHS += ["model_context_window_exceeded", "FINISH_REASON_MAX_TOKENS", "max-tokens"]
FILTERS = ["content_filter", "SAFETY", "safety", "contentFilter", "refusal", "RECITATION", "sensitive"]
FILTERS += ["guardrail_intervened", "PROHIBITED_CONTENT", "content-filter"]
CUTS = ["insufficient_system_resource", "network_error", "cancelled", "timeout", "abort", "error", "because"]
CUTS += [
    "CANCELLED",
    "pause_turn",
    "server_shutdown",
    "Timeout",
    "user_cancel",
    "preempted",
    "OTHER",
    "x" * 5000,
]


def whole(finish, **fields):
    message = {"role": "assistant", "content": "All said.", **fields}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({"id": "c1", "model": "m-1", "choices": [choice]})


@pytest.mark.parametrize("raw", ENDINGS)
def test_words_of_ending_end_an_answer(answers, raw):
    completion = answers(chunk("a") + chunk("", raw) + DONE).completion
    assert (completion.text, completion.finish, completion.raw_finish) == ("a", "stop", raw.strip())


@pytest.mark.parametrize("raw", LENGTHS)
def test_words_of_length_are_a_length_limit(answers, raw):
    assert answers(chunk("a") + chunk("", raw) + DONE).completion.finish == "length"


@pytest.mark.parametrize("raw", FILTERS)
def test_words_of_filters_block_the_answer_and_keep_its_text(answers, raw):
    outcome = answers(chunk("a") + chunk("", raw) + DONE)
    assert type(outcome.error) is errors.Blocked
    assert outcome.partial.text == "a"


@pytest.mark.parametrize("raw", CUTS)
@pytest.mark.parametrize("form", ["stream", "whole", "gemini"])
def test_every_other_word_is_a_cut(answers, raw, form):
    if form == "gemini":
        outcome = answers(part("a") + part("", finish=raw), name="gemini")
    elif form == "whole":
        outcome = answers(whole(raw), stream=False)
    else:
        outcome = answers(chunk("a") + chunk("", raw) + DONE)
    assert type(outcome.error) is errors.BadReply
    assert not outcome.error.by_model
    assert len(outcome.error.detail) < 300


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "malformed_tool_call"])
def test_words_for_what_the_model_wrote_say_nothing_against_its_provider(answers, reason):
    assert answers(part("a", finish=reason), name="gemini").error.by_model
    assert is_by_model(reason)


@pytest.mark.parametrize("reason", [None, "", " ", "null", "None", 7, True, [], {}, {"x": 1}, "UNSPECIFIED"])
def test_what_is_no_word_ends_nothing(reason):
    assert finish_of(reason) is None


OBJECTS = [({"type": "stop"}, "stop"), ({"reason": "MAX_TOKENS"}, "length"), ({"type": "x"}, "error")]


@pytest.mark.parametrize(("reason", "finish"), OBJECTS)
def test_word_may_be_in_an_object(answers, reason, finish):
    outcome = answers(chunk("a") + chunk("", reason) + DONE)
    assert outcome.partial.finish == finish
    assert (outcome.error is None) is (finish != "error")


@pytest.mark.parametrize("raw", ["length", "network_error", "content_filter"])
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_words_the_worse_one_counts(answers, raw, swapped):
    words = ["stop", raw] if swapped else [raw, "stop"]
    outcome = answers(chunk("a") + "".join(chunk("", word) for word in words) + DONE)
    assert outcome.partial.finish == finish_of(raw)


USAGE = {"prompt_tokens": 3, "completion_tokens": 1}
USAGE_EVENT = f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n"


@pytest.mark.parametrize(
    "tail",
    [
        chunk("", "stop", usage=USAGE),
        chunk("", "stop") + USAGE_EVENT,
        USAGE_EVENT + chunk("", "stop"),
        chunk("", "stop") + chunk("", None, usage=USAGE),
        chunk("", None, usage=USAGE) + chunk("", "stop"),
        chunk("", "", usage=USAGE) + DONE,
        USAGE_EVENT + DONE,
    ],
    ids=["beside", "before", "after", "before null", "after null", "no word, [DONE]", "no choice, [DONE]"],
)
def test_end_may_stand_before_beside_or_after_the_usage(answers, tail):
    completion = answers(chunk("All said.") + tail).completion
    assert (completion.text, completion.finish, completion.usage) == ("All said.", "stop", Usage(3, 1))


@pytest.mark.parametrize("done", [DONE, "data:[DONE]\n\n", 'data: "[DONE]"\n\n', "data: [DONE]"])
@pytest.mark.parametrize("reason", [None, "", "null"])
def test_announced_end_without_a_word_is_an_end(answers, done, reason):
    completion = answers(chunk("All said.", reason) + done).completion
    assert (completion.text, completion.finish, completion.raw_finish) == ("All said.", "stop", "")


@pytest.mark.parametrize("reason", [None, "", "null"])
@pytest.mark.parametrize("stream", [True, False])
def test_complete_document_without_a_word_is_an_end(answers, reason, stream):
    completion = answers(whole(reason), stream=stream).completion
    assert (completion.text, completion.finish) == ("All said.", "stop")


def test_complete_document_of_gemini_without_a_word_is_an_end(answers):
    body = json.dumps({"candidates": [{"content": {"parts": [{"text": "All said."}]}}]})
    for document in (body, f"[{body}]"):
        assert answers(document, name="gemini", stream=False).completion.text == "All said."
    assert type(answers(f"data: {body}\n\n", name="gemini").error) is errors.BadReply


@pytest.mark.parametrize("body", [DONE, chunk("") + DONE, whole(None, content=""), whole("", content=None)])
def test_announced_end_of_nothing_is_a_cut(answers, body):
    error = answers(body).error
    assert type(error) is errors.BadReply
    assert not error.by_model


@pytest.mark.parametrize("end", ["clean", "close"])
@pytest.mark.parametrize("body", [chunk("half of"), chunk("half of") + USAGE_EVENT, chunk("half of", "")])
def test_missing_end_is_a_cut(answers, body, end):
    outcome = answers(body, end=end)
    assert type(outcome.error) is errors.BadReply
    assert outcome.partial.text == "half of"


def test_calls_cut_before_an_announced_end_are_a_cut(answers):
    body = calls(fragment('{"a": ', name="get_time", index=0, id="a")) + DONE
    error = answers(body, request=asking(tools=(CLOCK,))).error
    assert type(error) is errors.BadReply
    assert not error.by_model
    body = calls(fragment("{}", name="get_time", index=0, id="a")) + DONE
    assert answers(body, request=asking(tools=(CLOCK,))).completion.finish == "tool_calls"


def test_a_full_window_without_an_answer_is_a_conversation_that_is_too_long(answers):
    assert type(answers(chunk("", "model_context_window_exceeded") + DONE).error) is errors.ContextTooLong


# -- The part of a choice that has something --------------------------------------------------

EMPTY_DELTAS = [
    {},
    None,
    {"role": "assistant"},
    {"role": "assistant", "content": ""},
    {"content": None, "tool_calls": None, "refusal": None},
    {"content": "", "tool_calls": [], "function_call": {"name": "", "arguments": ""}},
]


def with_message(delta, message, finish="stop"):
    choice = {"index": 0, "delta": delta, "message": message, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


@pytest.mark.parametrize("delta", EMPTY_DELTAS, ids=repr)
def test_message_is_read_where_the_delta_has_nothing(answers, delta):
    body = with_message(delta, {"role": "assistant", "content": "All said."})
    assert answers(body + DONE).completion.text == "All said."


@pytest.mark.parametrize(
    "message", [None, {}, {"content": ""}, {"content": None}, {"role": "assistant"}], ids=repr
)
def test_delta_is_read_where_the_message_has_nothing(answers, message):
    assert answers(with_message({"content": "All said."}, message) + DONE).completion.text == "All said."


@pytest.mark.parametrize("content", ["All said.", "All said. Really.", "Something else."])
def test_message_that_repeats_the_deltas_is_not_doubled(answers, content):
    body = chunk("All ") + chunk("said.") + with_message({}, {"content": content})
    expected = "All said. Really." if "Really" in content else "All said."
    assert answers(body + DONE).completion.text == expected


def test_calls_of_a_message_are_read_once(answers):
    made = fragment("{}", name="get_time", index=0, id="a")
    message = {"content": None, "tool_calls": [made]}
    for body in (with_message({}, message), calls(made) + with_message({}, message)):
        (call,) = answers(body + DONE, request=asking(tools=(CLOCK,))).completion.tool_calls
        assert (call.id, call.name) == ("a", "get_time")


@pytest.mark.parametrize(
    "fields",
    [
        {"function_call": {"name": "", "arguments": ""}},
        {"function_call": {"name": None, "arguments": None}},
        {"tool_calls": []},
        {"tool_calls": [{}]},
        {"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}]},
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "id": None, "function": None}]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_blank_calls_are_none(answers, fields, stream):
    body = chunk(delta={"content": "All said.", **fields}) + chunk("", "stop") + DONE
    outcome = answers(body if stream else whole("stop", **fields), stream=stream)
    assert (outcome.completion.text, outcome.completion.tool_calls) == ("All said.", ())


def test_text_of_a_choice_is_read(answers):
    body = 'data: {"choices": [{"index": 0, "text": "All said.", "finish_reason": "stop"}]}\n\n'
    assert answers(body + DONE).completion.text == "All said."


@pytest.mark.parametrize(
    "content",
    ["All said.", ["All ", "said."], [{"type": "output_text", "text": "All said."}], {"text": "All said."}],
    ids=repr,
)
def test_content_is_read_in_every_form(answers, content):
    assert answers(chunk(None, "stop", delta={"content": content}) + DONE).completion.text == "All said."


# -- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["stop", "STOP", None, "refusal"])
@pytest.mark.parametrize("form", ["field", "part", "whole"])
def test_a_refusal_is_a_whole_answer_of_its_own_kind(answers, form, reason):
    words = ["I'm sorry, ", "no."]
    if form == "whole":
        outcome = answers(whole(reason, content=None, refusal="".join(words)), stream=False)
    else:
        deltas = [
            {"refusal": word} if form == "field" else {"content": [{"type": "refusal", "refusal": word}]}
            for word in words
        ]
        outcome = answers("".join(chunk(delta=delta) for delta in deltas) + chunk("", reason) + DONE)
    completion = outcome.completion
    assert (completion.text, completion.refusal, completion.finish) == ("", "I'm sorry, no.", "refusal")


def test_a_refusal_after_text_keeps_both(answers):
    body = chunk("Well. ") + chunk(delta={"refusal": "No."}) + chunk("", "stop")
    completion = answers(body + DONE).completion
    assert (completion.text, completion.refusal, completion.finish) == ("Well. ", "No.", "refusal")


@pytest.mark.parametrize(("tail", "kind"), [("", "bad_reply"), (chunk("", "content_filter"), "blocked")])
def test_a_refusal_that_is_cut_or_filtered_is_no_whole_answer(answers, tail, kind):
    outcome = answers(chunk(delta={"refusal": "I'm so"}) + tail)
    assert outcome.error.kind == kind
    assert outcome.partial.refusal == "I'm so"


@pytest.mark.parametrize("refusal", [None, "", 7, [], {}])
def test_what_is_no_refusal_refuses_nothing(answers, refusal):
    body = chunk(delta={"content": "All said.", "refusal": refusal}) + chunk("", "stop") + DONE
    completion = answers(body).completion
    assert (completion.text, completion.refusal, completion.finish) == ("All said.", "", "stop")
