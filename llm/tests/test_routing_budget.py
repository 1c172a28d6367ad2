"""Runs whose caller pays for each call: it is asked before every further one; what was not sent is free."""

from decimal import Decimal

import pytest

from llm import errors
from llm.breaker import Breakers
from llm.canonical import Completion, Failed, Finished, Message, Target
from llm.receipt import Line
from llm.tests import test_routing
from llm.tests.test_routing import ANSWER, GEMINI, GROQ, QUESTION, outcomes, text_of

runs = test_routing.runs

CONTINUING = Target("groq", "qwen/qwen3.8-27b")


class Purse:
    """Affords so many further calls, and remembers for what it was asked."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.asked = []

    def afford(self, attempts, request, target):
        self.asked.append(([attempt.outcome for attempt in attempts], request, target))
        if len(self.asked) > self.calls:
            raise errors.OutOfBudget("There is nothing left.", retry_after_seconds=7)


def test_the_first_call_is_not_asked_for(runs):
    purse = Purse(0)
    assert isinstance(list(runs(GROQ, afford=purse.afford))[-1], Finished)
    assert purse.asked == []


def test_every_further_call_is_asked_for_with_the_receipt_and_what_is_sent(runs, fake):
    fake.script(provider="groq", fault="500")
    purse = Purse(3)
    assert isinstance(list(runs(GROQ, GEMINI, afford=purse.afford))[-1], Finished)
    assert purse.asked == [
        (["overloaded"], QUESTION, GROQ),
        (["overloaded"] * 2, QUESTION, GROQ),
        (["overloaded"] * 3, QUESTION, GEMINI),
    ]


def test_a_call_that_is_not_afforded_is_not_made_and_the_partial_stays(runs, fake):
    fake.script(provider="groq", fault="cut-after-5")
    run = runs(GROQ, GEMINI, afford=Purse(0).afford)
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


def test_a_continuation_is_asked_for_with_all_that_it_sends(runs, fake):
    fake.script(provider="gemini", fault="cut-after-9")
    purse = Purse(1)
    events = list(runs(GEMINI, CONTINUING, afford=purse.afford))
    assert text_of(events) == ANSWER
    ((_, request, target),) = purse.asked
    assert target == CONTINUING
    assert request.messages[:-1] == QUESTION.messages
    assert request.messages[-1] == Message("assistant", request.messages[-1].text)
    assert ANSWER.startswith(request.messages[-1].text)


@pytest.mark.parametrize("error", [errors.OutOfBudget("Nothing left."), ZeroDivisionError()])
def test_a_refusal_leaves_no_circuit_half_open(runs, fake, error):
    breakers = Breakers()
    breakers.admit(GEMINI).failed(failures=1, seconds=0)
    fake.script(provider="groq", fault="401")

    def afford(*_):
        raise error

    run = runs(GROQ, GEMINI, breakers=breakers, afford=afford)
    if isinstance(error, errors.ProviderError):
        assert list(run)[-1].error is error
    else:
        with pytest.raises(ZeroDivisionError):
            list(run)
    assert breakers.admit(GEMINI)


def test_a_cancel_just_before_the_call_costs_nothing(runs, fake, provider):
    def provider_of(name):
        run.cancel()
        return provider(name)

    run = runs(GROQ, provider_of=provider_of)
    assert isinstance(list(run)[-1].error, errors.Cancelled)
    (line,) = run.attempts
    assert (line.outcome, line.usage.total, line.cost) == ("cancelled", 0, Decimal(0))
    assert fake.log() == []


@pytest.mark.parametrize("sent", [False, True])
def test_a_cancelled_call_costs_what_it_sent_once_that_has_left(runs, fake, provider, sent):
    fake.script(fault="silent")
    run = runs(GROQ)
    line = Line(GROQ, QUESTION, run._catalogue, 0)
    exchange = provider("groq").open(QUESTION, GROQ.model, stream=True, limits=run.policy.limits(1))
    if not sent:
        exchange.close()
    with pytest.raises(errors.ProviderError):
        list(exchange)
    assert exchange.request_sent is sent
    attempt = line.failed(errors.Cancelled("Stopped."), exchange)
    assert (attempt.usage.input > 0, attempt.cost > 0) == (sent, sent)
    assert len(fake.log()) == sent
