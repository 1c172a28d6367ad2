"""Which target is called after which failure: the failover plan, without any network."""

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Target
from llm.catalogue import Catalogue, Model
from llm.failover_plan import FailoverPlan
from llm.policy import Policy

FIRST, SECOND, THIRD = (Target("groq", name) for name in ("first", "second", "third"))
WINDOWS = {FIRST: 8_000, SECOND: 8_000, THIRD: 128_000}
CATALOGUE = Catalogue({target: Model(target, context_window=window) for target, window in WINDOWS.items()})
POLICY = Policy()


@pytest.fixture
def plan():
    """Return a function that starts on a route; the current call is in `plan.call`."""

    def start(*route, policy=POLICY, breakers=None, skipped=None):
        on_skip = [].append if skipped is None else skipped.append
        plan = FailoverPlan(route, policy, breakers or Breakers(), CATALOGUE, on_skip)
        plan.call = plan.next()
        return plan

    return start


def fail(plan, error, *, began=False, remaining=100.0):
    """Let the current call fail with `error`; return the next one as (target, wait), or None."""
    target = plan.call.target
    plan.call = plan.next_after(error, target, began=began, remaining_seconds=remaining)
    return plan.call and (plan.call.target, plan.call.wait_seconds)


def rate_limited(seconds):
    return errors.RateLimited("Slow down.", retry_after_seconds=seconds)


def test_run_waits_once_for_a_short_rate_limit(plan):
    plan = plan(FIRST, SECOND)
    assert fail(plan, rate_limited(10)) == (FIRST, 10)
    assert fail(plan, rate_limited(1)) == (SECOND, 0)


@pytest.mark.parametrize("seconds", [None, 10.1, 86_400])
def test_run_does_not_wait_for_a_long_or_unknown_rate_limit(plan, seconds):
    assert fail(plan(FIRST, SECOND), rate_limited(seconds)) == (SECOND, 0)


def test_wait_beyond_the_time_of_the_run_is_not_started(plan):
    assert fail(plan(FIRST, SECOND), rate_limited(5), remaining=4) == (SECOND, 0)


def test_run_waits_for_a_budget_in_flight_but_not_for_an_empty_account(plan):
    in_flight = errors.BillingRefused("In flight.", retry_after_seconds=2)
    assert fail(plan(FIRST, SECOND), in_flight) == (FIRST, 2)
    assert fail(plan(FIRST, SECOND), errors.BillingRefused("Empty.")) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.Overloaded, errors.Unreachable])
def test_overload_and_lost_connections_are_retried_twice_with_backoff(plan, kind):
    plan = plan(FIRST, SECOND)
    target, wait = fail(plan, kind("Down."))
    assert target == FIRST
    assert 0.25 <= wait <= 0.75
    target, wait = fail(plan, kind("Down."))
    assert target == FIRST
    assert 0.5 <= wait <= 1.5
    assert fail(plan, kind("Down.")) == (SECOND, 0)


def test_backoff_is_jittered():
    assert len({POLICY.backoff(1) for _ in range(20)}) > 1


def test_overload_is_not_retried_before_its_retry_after(plan):
    assert fail(plan(FIRST, SECOND), errors.Overloaded("Down.", retry_after_seconds=4)) == (FIRST, 4)
    assert fail(plan(FIRST, SECOND), errors.Overloaded("Down.", retry_after_seconds=60)) == (SECOND, 0)


@pytest.mark.parametrize("began", [False, True])
def test_silent_target_is_not_called_again(plan, began):
    plan = plan(FIRST, SECOND)
    assert fail(plan, errors.ProviderSilent("Nothing."), began=began) == (SECOND, 0)
    assert fail(plan, errors.BadReply("Cut."), began=True) == (SECOND, 0)
    assert fail(plan, errors.BadReply("Cut."), began=True) is None


@pytest.mark.parametrize(
    "kind", [errors.Unauthorized, errors.NotConfigured, errors.ModelNotFound, errors.BillingRefused]
)
def test_failures_for_the_operator_go_to_the_next_target(plan, kind):
    assert fail(plan(FIRST, SECOND), kind("No.")) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.BadRequest, errors.Blocked, errors.Cancelled])
@pytest.mark.parametrize("began", [False, True])
def test_bad_requests_and_blocked_content_stop(plan, kind, began):
    assert fail(plan(FIRST, SECOND), kind("No."), began=began) is None


def test_context_length_goes_only_to_a_larger_or_unknown_window(plan):
    assert fail(plan(FIRST, SECOND, THIRD), errors.ContextTooLong("Long.")) == (THIRD, 0)
    assert fail(plan(FIRST, SECOND), errors.ContextTooLong("Long.")) is None
    unknown, other = Target("groq", "unknown"), Target("groq", "other")
    plan = plan(FIRST, unknown, SECOND, other, THIRD)
    assert fail(plan, errors.ContextTooLong("Long.")) == (unknown, 0)
    assert fail(plan, errors.ContextTooLong("Long.")) == (other, 0)
    assert fail(plan, errors.ContextTooLong("Long.")) == (THIRD, 0)


def test_context_length_is_repeated_twice_where_less_can_be_sent(plan):
    plan = plan(FIRST, THIRD)
    assert plan.repeat_shorter(lambda target: True) is None
    assert fail(plan, errors.ContextTooLong("Long.")) == (THIRD, 0)
    assert fail(plan, errors.ContextTooLong("Long.")) is None
    assert plan.repeat_shorter(lambda target: False) is None
    assert plan.repeat_shorter(lambda target: target == FIRST).target == FIRST
    assert plan.repeat_shorter(lambda target: True).target == THIRD
    assert plan.repeat_shorter(lambda target: True) is None


def test_error_that_a_gateway_passes_on_without_a_reason_goes_to_the_next_first(plan):
    passed_on = errors.Overloaded("Provider returned error", status=400)
    plan = plan(FIRST, SECOND)
    assert fail(plan, passed_on) == (SECOND, 0)
    target, wait = fail(plan, passed_on)
    assert (target, wait > 0) == (SECOND, True)


def test_body_too_large_for_one_host_goes_to_the_next_whatever_its_window(plan):
    assert fail(plan(FIRST, SECOND), errors.ContextTooLong("Large.", of_the_body=True)) == (SECOND, 0)


def test_target_that_cannot_do_it_is_followed_by_the_next(plan):
    assert fail(plan(FIRST, SECOND), errors.Unsupported("No images.")) == (SECOND, 0)


def test_bad_reply_is_retried_once(plan):
    plan = plan(FIRST, SECOND)
    assert fail(plan, errors.BadReply("Malformed.")) == (FIRST, 0)
    assert fail(plan, errors.BadReply("Malformed.")) == (SECOND, 0)


def test_reset_stream_is_rescued_by_the_same_target_once(plan):
    plan = plan(FIRST, SECOND)
    assert fail(plan, errors.Unreachable("Reset."), began=True) == (FIRST, 0)
    assert fail(plan, errors.Unreachable("Reset."), began=True) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.BadReply, errors.Overloaded])
def test_broken_stream_is_rescued_by_the_next_target_first(plan, kind):
    plan = plan(FIRST, SECOND)
    assert fail(plan, kind("Cut."), began=True) == (SECOND, 0)
    assert fail(plan, errors.Unauthorized("No.")) == (FIRST, 0)
    assert fail(plan, kind("Cut."), began=True) is None


def test_endless_answer_is_not_requested_again(plan):
    plan = plan(FIRST, SECOND)
    assert fail(plan, errors.ReplyTooLarge("Endless."), began=True) == (SECOND, 0)
    assert fail(plan, errors.ReplyTooLarge("Endless."), began=True) is None


def test_calls_are_capped(plan):
    plan = plan(FIRST, SECOND, THIRD, policy=Policy(max_attempts=4))
    calls = [fail(plan, errors.Overloaded("Down.")) for _ in range(4)]
    assert [call and call[0] for call in calls] == [FIRST, FIRST, SECOND, None]


def test_target_named_twice_is_called_once(plan):
    plan = plan(FIRST, FIRST)
    assert fail(plan, errors.Unauthorized("No.")) is None


def test_open_circuit_is_skipped_and_reported(plan):
    breakers, skipped = Breakers(), []
    breakers.admit(FIRST).record_failure(failures=1, seconds=3600)
    plan = plan(FIRST, SECOND, breakers=breakers, skipped=skipped)
    assert plan.call.target == SECOND
    assert skipped == [FIRST]


def test_only_target_with_an_open_circuit_is_not_called(plan):
    breakers = Breakers()
    breakers.admit(FIRST).record_failure(failures=1, seconds=3600)
    assert plan(FIRST, breakers=breakers).call is None


def test_scaled_policy_scales_all_times_and_no_counts():
    scaled = POLICY.scaled(0.1)
    assert scaled.first_token_seconds == pytest.approx(1)
    assert scaled.retry_after_seconds == pytest.approx(1)
    assert scaled.backoff_seconds == pytest.approx(0.05)
    assert scaled.max_attempts == POLICY.max_attempts


def test_policy_comes_from_the_settings(settings):
    settings.LLM_FIRST_TOKEN_SECONDS = 3.5
    settings.LLM_MAX_ATTEMPTS = 2
    policy = Policy.from_settings()
    assert (policy.first_token_seconds, policy.max_attempts) == (3.5, 2)
