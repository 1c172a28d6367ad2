"""Which target comes after which failure: the walk along a route, without any network."""

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Target
from llm.catalogue import Catalogue, Model
from llm.policy import Policy
from llm.walk import Walk

FIRST, SECOND, THIRD = (Target("groq", name) for name in ("first", "second", "third"))
WINDOWS = {FIRST: 8_000, SECOND: 8_000, THIRD: 128_000}
CATALOGUE = Catalogue({target: Model(target, context_window=window) for target, window in WINDOWS.items()})
POLICY = Policy()


@pytest.fixture
def walk():
    """Return a function that starts on a route; the step taken last is in `walk.step`."""

    def start(*route, policy=POLICY, breakers=None, skipped=None):
        on_skip = [].append if skipped is None else skipped.append
        walk = Walk(route, policy, breakers or Breakers(), CATALOGUE, on_skip)
        walk.step = walk.next()
        return walk

    return start


def fail(walk, error, *, began=False, remaining=100.0):
    """Let the present call fail with `error`; return where the walk goes: (target, wait) or None."""
    target = walk.step.permit.target
    walk.step = walk.after(error, target, began=began, remaining_seconds=remaining)
    return walk.step and (walk.step.permit.target, walk.step.wait_seconds)


def rate_limited(seconds):
    return errors.RateLimited("Slow down.", retry_after_seconds=seconds)


def test_rate_limit_within_the_budget_is_waited_for_once(walk):
    walk = walk(FIRST, SECOND)
    assert fail(walk, rate_limited(10)) == (FIRST, 10)
    assert fail(walk, rate_limited(1)) == (SECOND, 0)


@pytest.mark.parametrize("seconds", [None, 10.1, 86_400])
def test_rate_limit_beyond_the_budget_or_without_a_time_moves_on(walk, seconds):
    assert fail(walk(FIRST, SECOND), rate_limited(seconds)) == (SECOND, 0)


def test_wait_that_outlasts_the_run_is_not_begun(walk):
    assert fail(walk(FIRST, SECOND), rate_limited(5), remaining=4) == (SECOND, 0)


def test_budget_in_flight_is_waited_for_but_an_empty_account_is_not(walk):
    in_flight = errors.BillingRefused("In flight.", retry_after_seconds=2)
    assert fail(walk(FIRST, SECOND), in_flight) == (FIRST, 2)
    assert fail(walk(FIRST, SECOND), errors.BillingRefused("Empty.")) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.Overloaded, errors.Unreachable])
def test_overload_and_lost_connections_are_retried_twice_with_backoff(walk, kind):
    walk = walk(FIRST, SECOND)
    target, wait = fail(walk, kind("Down."))
    assert target == FIRST
    assert 0.25 <= wait <= 0.75
    target, wait = fail(walk, kind("Down."))
    assert target == FIRST
    assert 0.5 <= wait <= 1.5
    assert fail(walk, kind("Down.")) == (SECOND, 0)


def test_backoff_is_jittered():
    assert len({POLICY.backoff(1) for _ in range(20)}) > 1


def test_overload_that_names_a_time_is_not_retried_earlier(walk):
    assert fail(walk(FIRST, SECOND), errors.Overloaded("Down.", retry_after_seconds=4)) == (FIRST, 4)
    assert fail(walk(FIRST, SECOND), errors.Overloaded("Down.", retry_after_seconds=60)) == (SECOND, 0)


@pytest.mark.parametrize("began", [False, True])
def test_silent_target_is_left_at_once_and_never_called_again(walk, began):
    walk = walk(FIRST, SECOND)
    assert fail(walk, errors.ProviderSilent("Nothing."), began=began) == (SECOND, 0)
    assert fail(walk, errors.BadReply("Cut."), began=True) == (SECOND, 0)
    assert fail(walk, errors.BadReply("Cut."), began=True) is None


@pytest.mark.parametrize(
    "kind", [errors.Unauthorized, errors.NotConfigured, errors.ModelNotFound, errors.BillingRefused]
)
def test_what_only_an_operator_can_mend_moves_on(walk, kind):
    assert fail(walk(FIRST, SECOND), kind("No.")) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.BadRequest, errors.Blocked, errors.Cancelled])
@pytest.mark.parametrize("began", [False, True])
def test_bad_requests_and_blocked_content_stop(walk, kind, began):
    assert fail(walk(FIRST, SECOND), kind("No."), began=began) is None


def test_context_length_goes_only_to_a_larger_window(walk):
    assert fail(walk(FIRST, SECOND, THIRD), errors.ContextTooLong("Long.")) == (THIRD, 0)
    assert fail(walk(FIRST, SECOND), errors.ContextTooLong("Long.")) is None
    assert fail(walk(FIRST, Target("groq", "unknown")), errors.ContextTooLong("Long.")) is None


def test_bad_reply_is_retried_once(walk):
    walk = walk(FIRST, SECOND)
    assert fail(walk, errors.BadReply("Garbled.")) == (FIRST, 0)
    assert fail(walk, errors.BadReply("Garbled.")) == (SECOND, 0)


def test_reset_in_the_answer_is_rescued_by_the_same_target_once(walk):
    walk = walk(FIRST, SECOND)
    assert fail(walk, errors.Unreachable("Reset."), began=True) == (FIRST, 0)
    assert fail(walk, errors.Unreachable("Reset."), began=True) == (SECOND, 0)


@pytest.mark.parametrize("kind", [errors.BadReply, errors.Overloaded])
def test_broken_answer_is_rescued_by_the_next_target_first(walk, kind):
    walk = walk(FIRST, SECOND)
    assert fail(walk, kind("Cut."), began=True) == (SECOND, 0)
    assert fail(walk, errors.Unauthorized("No.")) == (FIRST, 0)
    assert fail(walk, kind("Cut."), began=True) is None


def test_runaway_answer_is_never_asked_for_again(walk):
    walk = walk(FIRST, SECOND)
    assert fail(walk, errors.ReplyTooLarge("Endless."), began=True) == (SECOND, 0)
    assert fail(walk, errors.ReplyTooLarge("Endless."), began=True) is None


def test_calls_are_capped(walk):
    walk = walk(FIRST, SECOND, THIRD, policy=Policy(max_attempts=4))
    taken = [fail(walk, errors.Overloaded("Down.")) for _ in range(4)]
    assert [step and step[0] for step in taken] == [FIRST, FIRST, SECOND, None]


def test_target_named_twice_is_walked_once(walk):
    walk = walk(FIRST, FIRST)
    assert fail(walk, errors.Unauthorized("No.")) is None


def test_open_circuit_is_skipped_and_told(walk):
    breakers, skipped = Breakers(), []
    breakers.admit(FIRST).failed(failures=1, seconds=3600)
    walk = walk(FIRST, SECOND, breakers=breakers, skipped=skipped)
    assert walk.step.permit.target == SECOND
    assert skipped == [FIRST]


def test_lone_target_with_an_open_circuit_is_not_called(walk):
    breakers = Breakers()
    breakers.admit(FIRST).failed(failures=1, seconds=3600)
    assert walk(FIRST, breakers=breakers).step is None


def test_scaled_policy_scales_every_clock_and_no_count():
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
