"""Requests that are refused for a parameter: changed once, sent again, remembered, and on the receipt."""

import json

import pytest

from llm import errors
from llm.canonical import Target
from llm.providers import PROVIDERS, repairs
from llm.routing import Run
from qa.testing.llm import WEATHER, asking


@pytest.fixture
def refuses(fake):
    """Return a function: the next `times` requests are refused with this answer."""

    def script(name, error, status=400, times=1):
        body = {"error": {"message": error} if isinstance(error, str) else error}
        raw = {"status": status, "headers": {}, "pieces": [json.dumps(body)], "end": "clean", "framed": True}
        fake.script(provider=name, raw=raw, times=times)

    return script


def sent(fake):
    return [entry.body for entry in fake.log()]


MAX_TOKENS = {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
    "type": "invalid_request_error",
    "param": "max_tokens",
    "code": "unsupported_parameter",
}
#: Per provider, parameter and refusal: the value that is sent then, None for none, and the change.
REFUSED = [
    (
        "openai_compatible",
        {"max_tokens": 50},
        MAX_TOKENS,
        {"max_tokens": None, "max_completion_tokens": 50},
        "max_tokens was sent as max_completion_tokens.",
    ),
    (
        "groq",
        {"max_tokens": 50},
        "Unrecognized request argument supplied: max_completion_tokens",
        {"max_tokens": 50, "max_completion_tokens": None},
        "max_tokens was sent as max_tokens.",
    ),
    (
        "groq",
        {"max_tokens": 50_000},
        "`max_completion_tokens` must be less than or equal to `16384`, the maximum value for "
        "`max_completion_tokens` is less than the `context_window` for this model",
        {"max_completion_tokens": 16384},
        "max_tokens was lowered from 50000 to 16384.",
    ),
    (
        "openai_compatible",
        {"max_tokens": 50_000},
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        {"max_tokens": 8192},
        "max_tokens was lowered from 50000 to 8192.",
    ),
    (
        "openai_compatible",
        {"max_tokens": 8000},
        "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is "
        "8192 tokens and your request has 500 input tokens (8000 > 8192 - 500).",
        {"max_tokens": 7692},
        "max_tokens was lowered from 8000 to 7692.",
    ),
    (
        "openai_compatible",
        {"max_tokens": 21_333},
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input "
        "length or `max_tokens` and try again",
        {"max_tokens": 11_760},
        "max_tokens was lowered from 21333 to 11760.",
    ),
    (
        "gemini",
        {"max_tokens": 100_000},
        "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range "
        "is from 1 (inclusive) to 8193 (exclusive). Update the value and try again.",
        {"generationConfig": {"maxOutputTokens": 8192}},
        "max_tokens was lowered from 100000 to 8192.",
    ),
    (
        "groq",
        {"reasoning_effort": "high"},
        "`reasoning_effort` must be one of `none` or `default`",
        {"reasoning_effort": "default"},
        "reasoning_effort was changed from high to default.",
    ),
    (
        "openai_compatible",
        {"reasoning_effort": "minimal"},
        "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported values "
        "are: 'low', 'medium', and 'high'.",
        {"reasoning_effort": "low"},
        "reasoning_effort was changed from minimal to low.",
    ),
    (
        "gemini",
        {"reasoning_effort": "minimal"},
        "Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.",
        {"generationConfig": {"thinkingConfig": {}}},
        "reasoning_effort was left out: it was refused.",
    ),
    (
        "groq",
        {"reasoning_effort": "low"},
        "reasoning_effort is not supported with this model",
        {"reasoning_effort": None},
        "reasoning_effort was left out: it was refused.",
    ),
    (
        "openai_compatible",
        {"reasoning_effort": "medium"},
        '"qwen3-coder:30b" does not support thinking',
        {"reasoning_effort": None},
        "reasoning_effort was left out: it was refused.",
    ),
    (
        "openrouter",
        {"reasoning_effort": "none"},
        "Reasoning is mandatory for this endpoint and cannot be disabled.",
        {"reasoning": {}},
        "reasoning_effort was left out: it was refused.",
    ),
    (
        "openai_compatible",
        {"temperature": 0.2},
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value "
        "is supported.",
        {"temperature": None},
        "temperature was left out: it was refused.",
    ),
    (
        "openai_compatible",
        {"temperature": 0.5, "top_p": 0.9},
        "`temperature` and `top_p` cannot both be specified for this model.",
        {"temperature": 0.5, "top_p": None},
        "top_p was left out: it was refused.",
    ),
    (
        "openai_compatible",
        {"seed": 7},
        "Extra inputs are not permitted, field: 'seed'",
        {"seed": None},
        "seed was left out: it was refused.",
    ),
    (
        "openai_compatible",
        {"tools": (WEATHER,), "parallel_tool_calls": False},
        {"message": "no", "param": "parallel_tool_calls", "code": "unsupported_parameter"},
        {"parallel_tool_calls": None},
        "parallel_tool_calls was left out: it was refused.",
    ),
    (
        "openrouter",
        {"reasoning_effort": "xhigh"},
        {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {
                "raw": '{"error": {"message": "Invalid reasoning_effort. Expected one of: low, high"}}'
            },
        },
        {"reasoning": {"effort": "high"}},
        "reasoning_effort was changed from xhigh to high.",
    ),
]


@pytest.mark.parametrize(("name", "options", "error", "expected", "change"), REFUSED)
def test_refused_parameter_is_changed_once_and_remembered(
    call, provider, fake, refuses, name, options, error, expected, change
):
    refuses(name, error)
    of = provider(name)
    first = call(name, request=asking(**options), of=of)
    assert first.completion is not None
    assert first.call.notes == [change]
    assert len(sent(fake)) == 2
    if "exceed context limit" not in str(error) and "your request has" not in str(error):
        assert call(name, request=asking(**options), of=of).call.notes == [change]
        assert len(sent(fake)) == 3
    for body in sent(fake)[1:]:
        for field, value in expected.items():
            assert body.get(field) == value


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_parameter_that_a_provider_is_sent_is_known_by_its_names(provider, name):
    assert set(provider(name).parameters) <= set(repairs.SPELLINGS)


@pytest.mark.parametrize(
    "parameter", ["top_k", "min_p", "repetition_penalty", "frequency_penalty", "verbosity"]
)
def test_optional_parameter_that_is_not_known_there_is_left_out(call, fake, refuses, parameter):
    refuses("openai_compatible", f"Unrecognized request argument supplied: {parameter}")
    value = "low" if parameter == "verbosity" else 1
    outcome = call("openai_compatible", request=asking(**{parameter: value}))
    assert outcome.call.notes == [f"{parameter} was left out: it was refused."]
    assert parameter not in sent(fake)[-1]


@pytest.mark.parametrize(
    ("message", "most"),
    [
        ("max_tokens (100000) cannot be greater than the model's maximum output tokens 16384", 16_384),
        ("Value error, max_tokens must be no greater than 4096", 4096),
        ("The value of max_tokens is too high. Maximum is 8192.", 8192),
        ("max_tokens: must be in the range [1, 65,536]", 65_536),
        ("parameter max_tokens out of range: allowed 1..4096", 4096),
        ("Invalid 'max_tokens': integer above maximum value. Expected <= 16384, but got 100000.", 16_384),
        ("max_tokens: 100000 > 4096, which is the maximum allowed number of output tokens for "
         "claude-3-haiku-20240307", 4096),
        ("The maximum tokens you requested exceeds the model limit of 5120. Try again with a maximum tokens "
         "value that is lower than 5120.", 5120),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you "
         "provided 100000.", 16_384),
        ("Range of max_tokens should be [1, 128]", 128),
        ("max_tokens must be less than 8193", 8192),
        ("max_tokens is not valid for gpt-4.1-2026-04-14", None),
    ],
)  # fmt: skip
def test_the_end_of_the_range_is_read_from_the_message(call, fake, refuses, message, most):
    refuses("openai_compatible", message)
    call("openai_compatible", request=asking(max_tokens=100_000))
    limits = [body["max_tokens"] for body in sent(fake)]
    assert limits == ([100_000] if most is None else [100_000, most])


def test_what_the_prompt_leaves_is_not_remembered(call, provider, fake, refuses):
    refuses("groq", "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000")
    of = provider("groq")
    call(request=asking(max_tokens=21_333), of=of)
    assert call(request=asking(max_tokens=21_333), of=of).call.notes == []


def test_another_model_of_the_provider_is_not_changed(call, provider, refuses):
    refuses("openai_compatible", MAX_TOKENS)
    of = provider("openai_compatible")
    call("openai_compatible", request=asking(max_tokens=50), of=of)
    other = call("openai_compatible", "fake-small", request=asking(max_tokens=50), of=of)
    assert other.call.notes == []


def test_repairs_are_forgotten_after_a_while(call, provider, refuses, monkeypatch):
    monkeypatch.setattr(repairs, "REMEMBERED_SECONDS", 0)
    refuses("groq", "reasoning_effort is not supported with this model")
    of = provider("groq")
    call(request=asking(reasoning_effort="low"), of=of)
    assert call(request=asking(reasoning_effort="low"), of=of).call.notes == []


def test_repair_that_does_not_help_is_not_made_again(call, fake, refuses):
    refuses("openai_compatible", MAX_TOKENS, times=9)
    outcome = call("openai_compatible", request=asking(max_tokens=50, temperature=0.5))
    assert type(outcome.error) is errors.BadRequest
    assert len(sent(fake)) == 2


def test_two_refused_parameters_are_two_repairs(call, fake, refuses):
    refuses("openai_compatible", "Unsupported parameter: 'temperature' is not supported with this model.")
    refuses("openai_compatible", MAX_TOKENS)
    outcome = call("openai_compatible", request=asking(max_tokens=50, temperature=0.5))
    assert outcome.completion is not None
    assert sorted(outcome.call.notes) == [
        "max_tokens was sent as max_completion_tokens.",
        "temperature was left out: it was refused.",
    ]


@pytest.mark.parametrize(
    "error",
    [
        "Invalid schema for function 'get_seed': 'type' is missing",
        "Invalid 'messages[0].content': expected a string",
        "The last message must have role user",
        "Invalid 'stop': array too long. Expected an array with maximum length 4",
        "max_tokens must be at least 1, got -34.",
    ],
)
def test_other_refusals_change_nothing(call, fake, refuses, error):
    refuses("openai_compatible", error)
    outcome = call("openai_compatible", request=asking(max_tokens=50, temperature=0.5, seed=7, stop=("END",)))
    assert outcome.error is not None
    assert len(sent(fake)) == 1


def test_limit_of_the_answer_is_never_left_out(call, fake, refuses):
    refuses("gemini", "Unknown name 'maxOutputTokens': Cannot find field.")
    assert type(call("gemini", request=asking(max_tokens=50)).error) is errors.BadRequest
    assert len(sent(fake)) == 1


TOO_LARGE = {
    "message": "Request too large for model `openai/gpt-oss-120b` in organization `org_1` service tier "
    "`on_demand` on tokens per minute (TPM): Limit 8000, Requested 66012, please reduce your message size "
    "and try again.",
    "type": "tokens",
    "code": "rate_limit_exceeded",
}


def test_request_larger_than_a_minutes_tokens_is_sent_once_more_with_what_fits(call, fake, refuses):
    refuses("groq", TOO_LARGE, status=413)
    outcome = call(request=asking(max_tokens=65_536))
    assert outcome.completion is not None
    assert outcome.call.notes == [f"max_tokens was lowered from 65536 to {65_536 - (66_012 - 8000)}."]


@pytest.mark.parametrize("max_tokens", [None, 500])
def test_prompt_larger_than_a_minutes_tokens_is_not_sent_again(call, fake, refuses, max_tokens):
    refuses("groq", TOO_LARGE, status=413)
    error = call(request=asking(max_tokens=max_tokens)).error
    assert (type(error), error.do_not_wait, len(sent(fake))) == (errors.RateLimited, True, 1)


def test_openrouter_without_a_host_for_all_parameters_is_asked_without_sampling(call, fake, refuses):
    error = {"message": "No endpoints found that can handle the requested parameters.", "code": 404}
    refuses("openrouter", error, status=404)
    outcome = call("openrouter", request=asking(tools=(WEATHER,), temperature=0.2, top_p=0.5, seed=7))
    assert outcome.completion is not None
    body = sent(fake)[-1]
    assert not {"temperature", "top_p", "seed"} & body.keys()
    assert body["tools"]
    assert body["provider"] == {"require_parameters": True}
    assert outcome.call.notes == [
        "temperature was left out: it was refused.",
        "top_p was left out: it was refused.",
        "seed was left out: it was refused.",
    ]


def test_openrouter_without_a_host_for_the_tools_is_another_targets_turn(call, fake, refuses):
    error = {"message": "No endpoints found that can handle the requested parameters.", "code": 404}
    refuses("openrouter", error, status=404, times=9)
    outcome = call("openrouter", request=asking(tools=(WEATHER,), temperature=0.2))
    assert type(outcome.error) is errors.Unsupported
    assert len(sent(fake)) == 2


def test_limit_is_lowered_to_what_the_credit_allows(call, refuses):
    refuses(
        "openrouter",
        "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can "
        "only afford 1234.",
        status=402,
    )
    outcome = call("openrouter", request=asking(max_tokens=65_536))
    assert outcome.call.notes == ["max_tokens was lowered from 65536 to 1234."]


def test_repairs_are_on_the_receipt(provider, refuses):
    refuses("groq", "reasoning_effort is not supported with this model")
    target = Target("groq", "fake-large")
    run = Run(asking(reasoning_effort="low"), [target], provider_of=provider)
    run.complete()
    assert [line.notes for line in run.attempts] == [("reasoning_effort was left out: it was refused.",)]
