"""Every fault of the fake provider, on every wire: what it makes of a call."""

import dataclasses

import pytest

from llm import errors
from qa.fake_provider import faults
from qa.testing.llm import LIMITS, asking

SHORT = dataclasses.replace(
    LIMITS, first_token_seconds=0.3, between_tokens_seconds=0.3, max_reply_bytes=3 << 20
)

#: The error of a stream with the fault; None is a complete and healthy answer.
STREAMED = {
    "400": errors.BadRequest,
    "401": errors.Unauthorized,
    "402": errors.BillingRefused,
    "403": errors.Unauthorized,
    "404": errors.ModelNotFound,
    "408": errors.Overloaded,
    "409": errors.Overloaded,
    "413": errors.ContextTooLong,
    "429": errors.RateLimited,
    "429-bare": errors.RateLimited,
    "429-day": errors.RateLimited,
    "498": errors.RateLimited,
    "500": errors.Overloaded,
    "502": errors.Overloaded,
    "502-html": errors.Overloaded,
    "503": errors.Overloaded,
    "504": errors.Overloaded,
    "529": errors.Overloaded,
    "bytewise": None,
    "close": errors.Unreachable,
    "comments": errors.ProviderSilent,
    "comments-mid-stream": errors.ProviderSilent,
    "content-filter": errors.Blocked,
    "context-length": errors.ContextTooLong,
    "cut": errors.BadReply,
    "cut-clean": errors.BadReply,
    "cut-reset": errors.Unreachable,
    "dribbled-event": errors.ProviderSilent,
    "dribbled-headers": errors.ProviderSilent,
    "empty": errors.BadReply,
    "empty-answer": errors.BadReply,
    "empty-chunks": errors.ProviderSilent,
    "endless": errors.ReplyTooLarge,
    "endless-line": errors.ReplyTooLarge,
    "error-200": errors.Overloaded,
    "error-chunk": errors.Overloaded,
    "error-event": errors.Overloaded,
    "gzip": None,
    "html": errors.BadReply,
    "huge-token": None,
    "json-for-stream": None,
    "loading": errors.Overloaded,
    "malformed": errors.BadReply,
    "malformed-chunking": errors.BadReply,
    "no-done": None,
    "no-finish": None,
    "no-end": errors.BadReply,
    "not-http": errors.BadReply,
    "open-end": None,
    "passed-on": errors.Overloaded,
    "prefix-rejected": None,
    "prompt-blocked": errors.Blocked,
    "redirect": errors.BadReply,
    "reset": errors.Unreachable,
    "silent": errors.ProviderSilent,
    "slow-first-token": errors.ProviderSilent,
    "sse-for-json": None,
    "stall": errors.ProviderSilent,
    "tool-use-failed": errors.BadReply,
    "unknown-tool": errors.BadReply,
    "unsupported": errors.Unsupported,
    "wrong-encoding": errors.BadReply,
}

#: Faults that the wire format of Gemini expresses in another way.
STREAMED_BY_GEMINI = {"tool-use-failed": errors.BadRequest, "no-finish": errors.BadReply}

#: Faults after some tokens.
WITH_PARTIAL = {
    "comments-mid-stream",
    "content-filter",
    "cut",
    "cut-clean",
    "cut-reset",
    "dribbled-event",
    "error-chunk",
    "error-event",
    "malformed",
    "malformed-chunking",
    "stall",
}


def test_the_table_has_every_fault():
    assert set(STREAMED) == set(faults.NAMES)


@pytest.mark.parametrize("name", ["groq", "openrouter", "openai_compatible", "gemini"])
@pytest.mark.parametrize("fault", faults.NAMES)
def test_a_fault_in_a_stream(call, fake, name, fault):
    outcome = call(name, f"fault-{fault}-after-2", limits=SHORT)
    expected = STREAMED_BY_GEMINI.get(fault, STREAMED[fault]) if name == "gemini" else STREAMED[fault]
    assert type(outcome.error) is (expected or type(None))
    if fault in WITH_PARTIAL:
        assert outcome.text == "You said: "
    elif expected is None:
        assert outcome.text
    assert fake.log()[-1].fault == fault


@pytest.mark.parametrize("name", ["groq", "gemini"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("429", errors.RateLimited),
        ("503", errors.Overloaded),
        ("reset", errors.Unreachable),
        ("silent", errors.ProviderSilent),
        ("cut", errors.BadReply),
        ("cut-clean", errors.BadReply),
        ("cut-reset", errors.Unreachable),
        ("stall", errors.ProviderSilent),
        ("content-filter", errors.Blocked),
        ("error-200", errors.Overloaded),
        ("html", errors.BadReply),
        ("empty", errors.BadReply),
        ("gzip", None),
        ("sse-for-json", None),
        ("unknown-tool", errors.BadReply),
    ],
)
def test_a_fault_in_an_answer_without_streaming(call, name, fault, expected):
    limits = dataclasses.replace(SHORT, total_seconds=0.5) if expected is errors.ProviderSilent else LIMITS
    outcome = call(name, f"fault-{fault}", stream=False, limits=limits)
    assert type(outcome.error) is (expected or type(None))


def test_the_wait_of_a_rate_limit_is_part_of_the_name(call):
    assert call("groq", "fault-429-wait-2.5").error.retry_after_seconds == 2.5
    assert call("gemini", "fault-429-wait-7").error.retry_after_seconds == 7
    assert call("gemini", "fault-429-day").error.do_not_wait


def test_a_fault_is_limited_to_the_first_calls(call):
    outcomes = [call(model="fault-503-times-2") for _ in range(3)]
    assert [bool(outcome.error) for outcome in outcomes] == [True, True, False]


def test_calls_are_counted_by_provider(call):
    assert call("groq", "fault-503-times-1").error
    assert call("openrouter", "fault-503-times-1").error
    assert call("groq", "fault-503-times-1").completion


def test_a_fault_ends_after_its_time(call, fake):
    assert call(model="fault-503-for-0.2s").error
    fake.wait_for(lambda log: call(model="fault-503-for-0.2s").completion)
    assert any(entry.fault == "503" for entry in fake.log())
    assert fake.log()[-1].fault is None


def test_a_prefix_is_rejected_and_a_question_answered(call):
    assert call(model="fault-prefix-rejected").completion
    continued = asking().continuing("You said")
    assert type(call(model="fault-prefix-rejected", request=continued).error) is errors.BadRequest


@pytest.mark.parametrize("text", ["nonsense", "fault-", "cut-after-x"])
def test_a_fault_that_does_not_exist_is_an_error(text):
    with pytest.raises(ValueError, match="There is no fault"):
        faults.parse(text)
