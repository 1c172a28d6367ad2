"""Every error response becomes the right kind of error, without the key or the provider's words."""

import json
import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from llm import errors
from llm.providers import retry_after
from qa.testing.llm import KEY


def error_for(answers, status, body, name="groq", **headers):
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return answers(text, name=name, status=status, headers=headers).error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthorized),
        (402, errors.BillingRefused),
        (403, errors.Unauthorized),
        (404, errors.ModelNotFound),
        (405, errors.BadRequest),
        (408, errors.Overloaded),
        (409, errors.Overloaded),
        (410, errors.ModelNotFound),
        (413, errors.ContextTooLong),
        (422, errors.BadRequest),
        (429, errors.RateLimited),
        (451, errors.Blocked),
        (498, errors.RateLimited),
        (499, errors.Overloaded),
        (500, errors.Overloaded),
        (502, errors.Overloaded),
        (503, errors.Overloaded),
        (504, errors.Overloaded),
        (520, errors.Overloaded),
        (524, errors.Overloaded),
        (529, errors.Overloaded),
        (599, errors.Overloaded),
    ],
)
@pytest.mark.parametrize(
    "body",
    ["", "<html>sorry</html>", {"error": {"message": "sorry"}}, {"error": "sorry"}, {"error": None}, [], "7"],
    ids=["empty", "HTML", "object", "text", "null", "list", "number"],
)
def test_status_alone_determines_the_kind(answers, status, kind, body):
    error = error_for(answers, status, body)
    assert type(error) is kind
    assert (error.provider, error.status) == ("groq", status)
    assert "sorry" not in str(error)


@pytest.mark.parametrize(
    ("name", "status", "error", "kind"),
    [
        ("groq", 400, {"code": "context_length_exceeded"}, errors.ContextTooLong),
        ("groq", 413, {"code": "rate_limit_exceeded", "type": "tokens"}, errors.RateLimited),
        ("groq", 413, {"message": "Please reduce the length of the messages"}, errors.ContextTooLong),
        ("groq", 400, {"code": "tool_use_failed", "type": "invalid_request_error"}, errors.BadReply),
        ("groq", 400, {"code": "json_validate_failed"}, errors.BadReply),
        ("groq", 404, {"code": "model_not_found", "type": "invalid_request_error"}, errors.ModelNotFound),
        ("groq", 429, {"code": "insufficient_quota"}, errors.BillingRefused),
        ("groq", 400, {"code": "content_filter"}, errors.Blocked),
        ("openrouter", 403, {"metadata": {"error_type": "content_policy_violation"}}, errors.Blocked),
        ("openrouter", 403, {"metadata": {"reasons": ["violence"], "flagged_input": "x"}}, errors.Blocked),
        ("openrouter", 403, {"metadata": {"limit_source": "openrouter_key"}}, errors.BillingRefused),
        ("openrouter", 403, {"message": "no access"}, errors.Unauthorized),
        ("openrouter", 400, {"metadata": {"error_type": "rate_limit_exceeded"}}, errors.RateLimited),
        ("openrouter", 500, {"metadata": {"error_type": "context_length_exceeded"}}, errors.ContextTooLong),
        (
            "openrouter",
            503,
            {"message": "none", "error_type": "provider_unavailable", "http_status": 503},
            errors.Overloaded,
        ),
        (
            "gemini",
            400,
            {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]},
            errors.Unauthorized,
        ),
        ("gemini", 400, {"status": "FAILED_PRECONDITION"}, errors.BillingRefused),
        ("gemini", 400, {"status": "INVALID_ARGUMENT", "message": "bad field"}, errors.BadRequest),
        (
            "gemini",
            400,
            {"message": "The input token count (2000000) exceeds the maximum number of tokens allowed"},
            errors.ContextTooLong,
        ),
        ("gemini", 403, {"status": "PERMISSION_DENIED"}, errors.Unauthorized),
        ("gemini", 404, {"status": "NOT_FOUND"}, errors.ModelNotFound),
        ("gemini", 504, {"status": "DEADLINE_EXCEEDED"}, errors.Overloaded),
        (
            "openai_compatible",
            500,
            {"message": "the request exceeds the available context size", "type": "server_error"},
            errors.ContextTooLong,
        ),
        ("openai_compatible", 400, {"type": "exceed_context_size_error"}, errors.ContextTooLong),
    ],
)
def test_codes_and_messages_take_precedence_over_the_status(answers, name, status, error, kind):
    assert type(error_for(answers, status, {"error": error}, name)) is kind
    assert type(error_for(answers, status, [{"error": error}], name)) is kind


def test_message_may_be_in_detail(answers):
    error = error_for(answers, 422, {"detail": "temperature is wrong"}, "openai_compatible")
    assert type(error) is errors.BadRequest
    assert error.detail == "temperature is wrong"


def test_error_response_with_a_truncated_body_keeps_its_kind(answers):
    head = "HTTP/1.1 429 Slow\r\nContent-Length: 500\r\nRetry-After: 3\r\n\r\n{"
    error = answers(head, framed=False, end="close").error
    assert (type(error), error.retry_after_seconds) == (errors.RateLimited, 3)


def test_response_that_is_not_http_is_a_bad_reply(answers):
    assert type(answers("SSH-2.0-OpenSSH\r\n\r\n", framed=False).error) is errors.BadReply
    assert type(
        answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", framed=False).error
    ) is (errors.BadReply)


# -- Delays ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2),
        ("0.25", 0.25),
        (" 7 ", 7),
        ("-5", 0),
        ("1e9", 1e9),
        ("1e999", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("2m59.56s", 179.56),
        ("7.66s", 7.66),
        ("120ms", 0.12),
        ("1h2m", 3720),
        ("45.837906927s", 45.837906927),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_delay_is_read_in_every_form(text, seconds):
    assert retry_after.seconds_of(text) == (pytest.approx(seconds) if seconds is not None else None)


def test_delay_until_a_date_is_the_time_left():
    assert 50 < retry_after.seconds_of(formatdate(time.time() + 60, usegmt=True)) <= 60


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please retry in 10h17m5.7s.", 37025.7),
        ("Rate limit reached. Please try again in 7.66s. Visit …", 7.66),
        ("Try again in 3 seconds", 3),
        ("Please try again in 5 minutes.", 300),
        ("Request was throttled. Expected available in 2 seconds.", 2),
        ("Rate limit exceeded, please wait for 1.5 hours", 5400),
        ("Your quota resets in 2 days", 172_800),
        ("Try again later", None),
    ],
)
def test_delay_is_read_from_a_message(message, seconds):
    found = retry_after.from_message(message)
    assert found == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_on_the_error(answers, status):
    assert error_for(answers, status, "", **{"Retry-After": "1.5"}).retry_after_seconds == 1.5


def test_budget_in_flight_says_when_to_retry(answers):
    error = error_for(answers, 402, {"error": {"code": 402}}, "openrouter", **{"Retry-After": "2"})
    assert (type(error), error.retry_after_seconds) == (errors.BillingRefused, 2)


def test_groq_limit_that_is_used_up_says_when_it_resets(answers):
    headers = {
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "7.66s",
    }
    assert error_for(answers, 429, "", **headers).retry_after_seconds == 7.66


@pytest.mark.parametrize(
    "resets_at",
    [
        lambda at: str(round(at * 1000)),
        lambda at: str(round(at)),
        lambda at: datetime.fromtimestamp(at, UTC).isoformat(),
        lambda at: formatdate(at, usegmt=True),
    ],
    ids=["epoch milliseconds", "epoch seconds", "ISO 8601", "HTTP date"],
)
@pytest.mark.parametrize(
    "name", ["X-RateLimit-Reset", "RateLimit-Reset", "anthropic-ratelimit-tokens-reset", "Retry-After"]
)
def test_time_of_a_reset_is_read_in_every_form(answers, name, resets_at):
    headers = {name.replace("eset", "emaining"): "0", name: resets_at(time.time() + 7200)}
    assert 7100 < error_for(answers, 429, "", **headers).retry_after_seconds <= 7201


def test_reset_of_a_limit_that_is_not_used_up_says_nothing(answers):
    headers = {"X-RateLimit-Reset": "50", "X-RateLimit-Remaining": "3"}
    assert error_for(answers, 429, "", **headers).retry_after_seconds is None


def test_limit_per_day_in_openrouters_body_has_its_true_wait(answers):
    at = str(round((time.time() + 7200) * 1000))
    error = {
        "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model"
        " requests per day",
        "code": 429,
        "metadata": {
            "headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": at}
        },
    }
    found = error_for(answers, 429, {"error": error}, "openrouter")
    assert (type(found), found.do_not_wait) == (errors.RateLimited, False)
    assert 7100 < found.retry_after_seconds <= 7201


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit exceeded: free-models-per-day",
        "Your daily limit is reached",
        "Limit of tokens per day (TPD)",
    ],
)
def test_wait_for_a_limit_per_day_is_not_guessed(answers, message):
    error = error_for(answers, 429, {"error": {"message": message}})
    assert (error.do_not_wait, error.retry_after_seconds) == (True, None)


def test_request_larger_than_the_limit_is_not_retried(answers):
    body = {"error": {"code": "rate_limit_exceeded", "message": "Please try again in 5s"}}
    error = error_for(answers, 413, body)
    assert (error.do_not_wait, error.retry_after_seconds) == (True, None)


@pytest.mark.parametrize(
    ("error", "seconds", "do_not_wait"),
    [
        ({"details": [{"retryDelay": "45.8s"}]}, 45.8, False),
        ({"message": "Please retry in 2.5s."}, 2.5, False),
        ({"details": [{"retryDelay": "9s"}, {"violations": [{"quotaId": "RequestsPerDay"}]}]}, None, True),
        ({"message": "Quota exceeded, limit: 0, model: x. Please retry in 5s"}, None, True),
        ({"details": "nonsense"}, None, False),
    ],
)
def test_gemini_states_the_delay_in_its_body(answers, error, seconds, do_not_wait):
    error = error_for(answers, 429, {"error": error | {"code": 429}}, "gemini")
    assert (error.retry_after_seconds, error.do_not_wait) == (seconds, do_not_wait)


def test_openrouter_states_the_delay_in_availability(answers):
    error = {"message": "none", "availability": {"code": "no_capacity", "retryable": True, "retry_after": 4}}
    assert error_for(answers, 503, {"error": error}, "openrouter").retry_after_seconds == 4


# -- Keys --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter"])
def test_key_repeated_by_the_provider_is_removed_from_errors(answers, name):
    error = error_for(answers, 401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}, name)
    shown = f"{error} {error!r} {error.detail} {vars(error)}"
    assert KEY not in shown
    assert "[key]" in error.detail


@pytest.mark.parametrize("name", ["groq", "gemini", "openrouter", "openai_compatible"])
@pytest.mark.parametrize("stream", [True, False])
def test_redirect_is_not_followed_and_gets_no_key(fake, call, name, stream):
    fake.script(
        provider=name, fault="redirect", headers={"Location": f"{fake.base_url('local')}/chat/completions"}
    )
    error = call(name, stream=stream).error
    assert type(error) is errors.BadReply
    assert f"{name.upper()}_BASE_URL" in str(error)
    assert [entry.provider for entry in fake.log()] == [name]
