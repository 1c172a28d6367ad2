"""Runs with a budget check: it is called before every further call; what was not sent is free."""

from decimal import Decimal

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Completion, Failed, Finished, Message, Target
from llm.receipt import AttemptRecorder
from llm.tests import test_routing
from llm.tests.test_routing import ANSWER, GEMINI, GROQ, QUESTION, outcomes, text_of

runs = test_routing.runs

CONTINUING = Target("groq", "qwen/qwen3.8-27b")


class Budget:
    """Allows a number of further calls, and records the checks."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.checks = []

    def check(self, attempts, request, target):
        self.checks.append(([attempt.outcome for attempt in attempts], request, target))
        if len(self.checks) > self.calls:
            raise errors.OutOfBudget("There is nothing left.", retry_after_seconds=7)


def test_first_call_is_not_checked(runs):
    budget = Budget(0)
    assert isinstance(list(runs(GROQ, check_budget=budget.check))[-1], Finished)
    assert budget.checks == []


def test_every_further_call_is_checked_with_the_receipt_and_its_request(runs, fake):
    fake.script(provider="groq", fault="500")
    budget = Budget(3)
    assert isinstance(list(runs(GROQ, GEMINI, check_budget=budget.check))[-1], Finished)
    assert budget.checks == [
        (["overloaded"], QUESTION, GROQ),
        (["overloaded"] * 2, QUESTION, GROQ),
        (["overloaded"] * 3, QUESTION, GEMINI),
    ]


def test_call_over_budget_is_not_made_and_the_partial_answer_is_kept(runs, fake):
    fake.script(provider="groq", fault="cut-after-5")
    run = runs(GROQ, GEMINI, check_budget=Budget(0).check)
    events = list(run)
    match events[-1]:
        case Failed(errors.OutOfBudget() as error, Completion() as partial):
            assert (error.kind, str(error), error.retry_after_seconds) == (
                "out_of_budget",
                "There is nothing left.",
                7,
            )
            assert partial.text == text_of(events) != ""
        case other:
            pytest.fail(f"{other} ended the run")
    assert outcomes(run) == [(GROQ, "bad_reply")]
    assert [entry.provider for entry in fake.log()] == ["groq"]


def test_continuation_is_checked_with_everything_it_sends(runs, fake):
    fake.script(provider="gemini", fault="cut-after-9")
    budget = Budget(1)
    events = list(runs(GEMINI, CONTINUING, check_budget=budget.check))
    assert text_of(events) == ANSWER
    ((_, request, target),) = budget.checks
    assert target == CONTINUING
    assert request.messages[:-1] == QUESTION.messages
    assert request.messages[-1] == Message("assistant", request.messages[-1].text)
    assert ANSWER.startswith(request.messages[-1].text)


@pytest.mark.parametrize("error", [errors.OutOfBudget("Nothing left."), ZeroDivisionError()])
def test_failed_check_leaves_no_circuit_probing(runs, fake, error):
    breakers = Breakers()
    breakers.admit(GEMINI).record_failure(failures=1, seconds=0)
    fake.script(provider="groq", fault="401")

    def check(*_):
        raise error

    run = runs(GROQ, GEMINI, breakers=breakers, check_budget=check)
    if isinstance(error, errors.ProviderError):
        assert list(run)[-1].error is error
    else:
        with pytest.raises(ZeroDivisionError):
            list(run)
    assert breakers.admit(GEMINI)


def test_cancel_just_before_the_call_costs_nothing(runs, fake, provider):
    def provider_of(name):
        run.cancel()
        return provider(name)

    run = runs(GROQ, provider_of=provider_of)
    assert isinstance(list(run)[-1].error, errors.Cancelled)
    (line,) = run.attempts
    assert (line.outcome, line.usage.total, line.cost) == ("cancelled", 0, Decimal(0))
    assert fake.log() == []


@pytest.mark.parametrize("sent", [False, True])
def test_cancelled_call_costs_its_request_once_that_was_sent(runs, fake, provider, sent):
    fake.script(fault="silent")
    run = runs(GROQ)
    recorder = AttemptRecorder(GROQ, QUESTION, run._catalogue, 0)
    call = provider("groq").open(QUESTION, GROQ.model, stream=True, limits=run.policy.limits(1))
    if not sent:
        call.close()
    with pytest.raises(errors.ProviderError):
        list(call)
    assert call.request_sent is sent
    attempt = recorder.failed(errors.Cancelled("Stopped."), call)
    assert (attempt.usage.input > 0, attempt.cost > 0) == (sent, sent)
    assert len(fake.log()) == sent
