"""Runs along a route, over real sockets: their events and their receipts."""

import logging
import threading
from decimal import Decimal

import pytest

from llm import errors, estimate
from llm.breaker import Breakers
from llm.canonical import (
    Completion,
    Failed,
    Finished,
    Message,
    Request,
    Restarted,
    Started,
    Target,
    Text,
    Waiting,
)
from llm.policy import Policy
from llm.routing import Run

FAST = Policy().scaled(0.1)
QUESTION = Request(messages=(Message("user", "Hello"),))
ANSWER = "You said: Hello and here are some calm words that any test can count on being the same each time"

GROQ = Target("groq", "openai/gpt-oss-120b")
GEMINI = Target("gemini", "gemini-3.5-flash-lite")
OPENROUTER = Target("openrouter", "openai/gpt-oss-120b")


@pytest.fixture
def runs(fake, provider):
    """Return a function that creates a run along a route of fake providers."""
    created = {}

    def provider_of(name):
        return created.setdefault(name, provider(name))

    breakers = Breakers()

    def make(*route, request=QUESTION, policy=FAST, **options):
        options = {"breakers": breakers, "provider_of": provider_of} | options
        return Run(request, route, policy=policy, **options)

    return make


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Text))


def outcomes(run):
    return [(line.target, line.outcome) for line in run.attempts]


# -- events ---------------------------------------------------------------------------


def test_answer_begins_with_its_target_and_ends_with_the_completion(runs):
    run = runs(GROQ)
    events = list(run)
    assert events[0] == Started(GROQ)
    assert isinstance(events[-1], Finished)
    assert text_of(events) == events[-1].completion.text == ANSWER
    assert outcomes(run) == [(GROQ, "ok")]


def test_completion_names_its_target(runs, fake):
    fake.script(provider="groq", fault="401")
    *_, finished = runs(GROQ, GEMINI)
    assert finished.completion.target == GEMINI
    assert finished.completion.model_used == GEMINI.model


def test_whole_answer_is_not_streamed(runs, fake):
    events = list(runs(GROQ, stream=False))
    assert events[-1].completion.text == text_of(events) == ANSWER
    assert fake.log()[-1].stream is False


def test_silent_target_of_a_whole_answer_leaves_time_for_the_next(runs, fake):
    fake.script(provider="groq", fault="silent")
    run = runs(GROQ, GEMINI, stream=False, policy=Policy(total_seconds=2))
    assert isinstance(list(run)[-1], Finished)
    assert outcomes(run) == [(GROQ, "timeout"), (GEMINI, "ok")]


def test_complete_returns_the_answer(runs):
    assert runs(GROQ).complete().text == ANSWER


def test_complete_raises_the_error_with_the_receipt(runs, fake):
    fake.script(fault="401")
    run = runs(GROQ, GEMINI)
    with pytest.raises(errors.AllProvidersFailed) as caught:
        run.complete()
    assert caught.value.kind == "auth"
    assert caught.value.attempts == run.attempts
    assert "groq/openai/gpt-oss-120b (auth), gemini/gemini-3.5-flash-lite (auth)" in str(caught.value)


def test_error_that_stops_the_run_is_raised_unchanged(runs, fake):
    fake.script(fault="400")
    with pytest.raises(errors.BadRequest) as caught:
        runs(GROQ, GEMINI).complete()
    assert [line.outcome for line in caught.value.attempts] == ["bad_request"]


def test_empty_route_reports_that_no_provider_is_configured():
    *_, failed = Run(QUESTION, ())
    assert isinstance(failed, Failed)
    assert failed.error.kind == "no_target"
    assert str(failed.error) == "No provider is configured."


def test_provider_without_a_key_is_skipped_with_an_alert(runs, fake, provider, caplog):
    keyless = {"groq": provider("groq", api_key=""), "gemini": provider("gemini")}
    with caplog.at_level(logging.ERROR, "llm.routing"):
        run = runs(GROQ, GEMINI, provider_of=keyless.get)
        assert isinstance(list(run)[-1], Finished)
    assert outcomes(run) == [(GROQ, "auth"), (GEMINI, "ok")]
    (alert,) = caplog.records
    assert alert.message == "llm_target_needs_attention"
    assert (alert.provider, alert.model, alert.kind) == ("groq", GROQ.model, "auth")


def test_our_own_bugs_surface_and_leave_no_circuit_probing(runs):
    breakers = Breakers()
    breakers.admit(GROQ).record_failure(failures=1, seconds=0)

    def broken(name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(runs(GROQ, breakers=breakers, provider_of=broken))
    assert breakers.admit(GROQ)


# -- cancelling -----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["silent", "stall-after-5"])
def test_cancel_from_another_thread_ends_the_run_at_once(runs, fake, fault):
    fake.script(fault=fault)
    run = runs(GROQ, GEMINI, policy=Policy())
    events = []
    reader = threading.Thread(target=lambda: events.extend(run))
    reader.start()
    fake.wait_for(lambda log: log and log[-1].model)
    run.cancel()
    reader.join(5)
    assert not reader.is_alive()
    assert isinstance(events[-1].error, errors.Cancelled)
    assert outcomes(run) == [(GROQ, "cancelled")]
    assert fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


def test_cancel_ends_a_wait_between_attempts(runs, fake):
    fake.script(fault="429-wait-9")
    run = runs(GROQ, policy=Policy(), emit_waiting=True)
    events, failed = [], threading.Event()

    def read():
        for event in run:
            events.append(event)
            if isinstance(event, Waiting):
                failed.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert failed.wait(5)
    run.cancel()
    reader.join(5)
    assert not reader.is_alive()
    assert isinstance(events[-1].error, errors.Cancelled)
    assert outcomes(run) == [(GROQ, "rate_limit")]


def test_run_cancelled_before_its_start_calls_no_provider(runs, fake):
    run = runs(GROQ)
    run.cancel()
    assert isinstance(list(run)[-1].error, errors.Cancelled)
    assert fake.log() == []


def test_cancel_between_the_choice_of_a_target_and_its_call_is_not_missed(runs, fake, provider):
    def provider_of(name):
        run.cancel()
        return provider(name)

    fake.script(fault="silent")
    run = runs(GROQ, policy=Policy(), provider_of=provider_of)
    assert isinstance(list(run)[-1].error, errors.Cancelled)
    assert outcomes(run) == [(GROQ, "cancelled")]


def test_cancelled_partial_answer_is_kept_counted_and_priced(runs, fake):
    fake.script(fault="stall-after-5")
    run = runs(GROQ, policy=Policy())
    events = []
    for event in run:
        events.append(event)
        if isinstance(event, Text):
            run.cancel()
    assert events[-1].partial.text == text_of(events)
    (line,) = run.attempts
    assert line.usage.estimated
    assert line.usage.output > 0
    assert line.cost > 0
    assert line.cost_basis == "estimated"


def test_leaving_reader_closes_the_call_and_is_recorded(runs, fake):
    fake.script(fault="stall-after-5")
    run = runs(GROQ, policy=Policy())
    events = iter(run)
    while not isinstance(next(events), Text):
        pass
    events.close()
    assert outcomes(run) == [(GROQ, "cancelled")]
    assert fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)


# -- rescue ---------------------------------------------------------------------------


def test_nothing_is_sent_twice_when_the_next_target_repeats_the_answer(runs, fake):
    fake.script(provider="groq", fault="cut-after-6")
    events = list(runs(GROQ, GEMINI))
    assert text_of(events) == ANSWER
    assert not any(isinstance(event, Restarted) for event in events)
    assert [event for event in events if isinstance(event, Started)] == [Started(GROQ)]


def test_partial_answer_belongs_to_the_attempt_that_sent_it(runs, fake):
    fake.script(provider="groq", fault="stall-after-6")
    fake.script(provider="gemini", fault="401")
    *_, failed = runs(GROQ, GEMINI)
    assert ANSWER.startswith(failed.partial.text)
    assert failed.partial.text
    assert failed.partial.target == GROQ
    assert failed.partial.finish == "error"


def test_json_is_restarted_not_continued(runs, fake):
    qwen = Target("groq", "qwen/qwen3.8-27b")
    long = '{"answer": "' + "word " * 20 + '"}'
    fake.script(answer={"text": long})
    fake.script(provider="groq", model=GROQ.model, fault="cut-after-15", answer={"text": long})
    *_, finished = runs(GROQ, qwen, request=Request(messages=QUESTION.messages, json_mode=True))
    assert finished.completion.text == long
    assert fake.log()[-1].body["messages"][-1]["role"] == "user"


# -- receipt --------------------------------------------------------------------------


def test_receipt_counts_and_prices_what_the_provider_reported(runs):
    run = runs(GROQ)
    list(run)
    (line,) = run.attempts
    assert (line.usage.input, line.usage.output, line.usage.cached, line.usage.reasoning) == (12, 34, 5, 6)
    assert not line.usage.estimated
    assert (line.cost, line.cost_basis) == (Decimal("0.000021825"), "priced")
    assert line.status == 200
    assert line.response_id
    assert line.first_token_ms is not None
    assert line.first_token_ms <= line.latency_ms


def test_receipt_prefers_the_cost_that_the_provider_reported(runs):
    run = runs(OPENROUTER)
    list(run)
    assert (run.attempts[0].cost, run.attempts[0].cost_basis) == (Decimal("0.00042"), "reported")


def test_unknown_model_is_unpriced(runs):
    run = runs(Target("groq", "unheard-of"))
    list(run)
    assert (run.attempts[0].cost, run.attempts[0].cost_basis) == (None, "unpriced")


def test_missing_usage_is_estimated_and_flagged(runs, fake):
    fake.script(answer={"usage": None})
    run = runs(GROQ)
    *_, finished = run
    assert finished.completion.usage.estimated
    assert finished.completion.usage.output == estimate.tokens(ANSWER) == 25
    assert run.attempts[0].cost_basis == "estimated"


def test_broken_attempt_counts_its_tokens_and_costs_nothing(runs, fake):
    fake.script(provider="groq", fault="cut-after-6")
    run = runs(GROQ, GEMINI)
    list(run)
    broken, answered = run.attempts
    assert broken.usage.estimated
    assert broken.usage.output > 0
    assert broken.cost == 0
    assert answered.cost > 0


def test_refused_attempt_used_no_tokens(runs, fake):
    fake.script(provider="groq", fault="429-bare")
    run = runs(GROQ, GEMINI)
    list(run)
    refused = run.attempts[0]
    assert (refused.status, refused.usage.total, refused.cost) == (429, 0, 0)
    assert refused.reason == "Groq allows no more requests for now."


def test_lost_connection_used_no_tokens_but_a_silent_target_may_have(runs, fake):
    fake.script(provider="groq", fault="reset")
    fake.script(provider="gemini", fault="silent")
    run = runs(GROQ, GEMINI)
    list(run)
    assert [line.outcome for line in run.attempts] == ["network"] * 3 + ["timeout"]
    assert [line.usage.input > 0 for line in run.attempts] == [False, False, False, True]
    assert run.attempts[-1].usage.estimated


def test_waits_are_recorded_apart_from_the_call(runs, fake):
    fake.script(fault="429-wait-0.3", times=1)
    run = runs(GROQ, policy=Policy())
    list(run)
    assert [line.waited_ms for line in run.attempts] == [0, 300]
    assert run.attempts[1].first_token_ms is not None


def test_skipped_target_is_on_the_receipt(runs, fake):
    breakers = Breakers()
    breakers.admit(GROQ).record_failure(failures=1, seconds=3600)
    run = runs(GROQ, GEMINI, breakers=breakers)
    list(run)
    assert outcomes(run) == [(GROQ, "circuit_open"), (GEMINI, "ok")]
    assert run.attempts[0].cost == 0


@pytest.mark.parametrize("fault", ["400", "prompt-blocked", "context-length"])
def test_requests_that_no_target_could_serve_open_no_circuit(runs, fake, fault):
    fake.script(fault=fault)
    for _ in range(FAST.breaker_failures + 1):
        run = runs(GROQ)
        list(run)
    assert outcomes(run) != [(GROQ, "circuit_open")]


# -- many at once ---------------------------------------------------------------------


@pytest.mark.slow
def test_two_hundred_threads_share_connections_and_get_their_own_answers(runs, fake):
    start = threading.Barrier(200)
    answers: dict[int, list[Completion]] = {}

    def ask(number):
        request = Request(messages=(Message("user", f"Question {number}"),))
        start.wait()
        answers[number] = [runs(GROQ, request=request, policy=Policy()).complete() for _ in range(2)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(200):
        assert [f"Question {number} and" in answer.text for answer in answers[number]] == [True, True]
    log = fake.log()
    assert len(log) == 400
    assert len({entry.connection for entry in log}) <= 200


def test_silent_provider_does_not_block_other_runs(runs, fake):
    fake.script(provider="groq", fault="silent")
    stuck = runs(GROQ, policy=Policy())
    reader = threading.Thread(target=lambda: list(stuck))
    reader.start()
    fake.wait_for(lambda log: log and log[-1].model)
    assert runs(GEMINI).complete().text == ANSWER
    assert reader.is_alive()
    stuck.cancel()
    reader.join(5)


PROVOKED = {
    "invalid JSON": (400, '{"error": {"message": "no", "code": "json_validate_failed"}}'),
    "invalid tool call": (400, '{"error": {"message": "no", "code": "tool_use_failed"}}'),
    "bad request": (400, '{"error": {"message": "no"}}'),
    "unprocessable": (422, '{"error": {"message": "no"}}'),
    "too long": (400, '{"error": {"message": "no", "code": "context_length_exceeded"}}'),
    "too large": (413, '{"error": {"message": "Request too large", "code": "rate_limit_exceeded"}}'),
    "blocked": (400, '{"error": {"message": "no", "code": "content_filter"}}'),
    "empty": (200, 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'),
    "unknown tool": (
        200,
        'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": '
        '{"name": "nope", "arguments": "{}"}}]}, "finish_reason": "stop"}]}\n\n',
    ),
}


@pytest.mark.parametrize("failure", PROVOKED)
def test_what_a_request_can_provoke_is_no_failure_of_the_target(runs, fake, failure):
    status, body = PROVOKED[failure]
    fake.script(provider="groq", raw={"status": status, "pieces": [body]})
    for _ in range(6):
        list(runs(GROQ))
    fake.reset()
    assert isinstance(list(runs(GROQ))[-1], Finished)
