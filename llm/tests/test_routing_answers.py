"""Runs whose answers are unusual and whole: calls that cannot be used, refusals, thoughts taken back."""

import pytest

from llm import canonical
from llm.breaker import Breakers
from llm.canonical import Failed, Finished, Restarted, Text, ToolCallDelta
from llm.tests import test_routing
from llm.tests.bodies import DONE, END, calls, chunk, fragment
from llm.tests.test_routing import GROQ, OPENROUTER, outcomes, text_of
from llm.tests.test_routing_budget import CONTINUING
from qa.testing.llm import CLOCK, asking

runs = test_routing.runs

WITH_TOOL = asking(tools=(CLOCK,))
UNKNOWN_TOOL = calls(fragment("{}", name="format_disk", index=0, id="a")) + chunk(None, "tool_calls") + DONE
BROKEN = calls(fragment('{"a": ', name="get_time", index=0, id="a")) + chunk(None, "tool_calls") + DONE


def say(fake, *bodies, provider="groq"):
    for body in reversed(bodies):
        fake.script(provider=provider, raw={"pieces": [body]}, times=1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("body", "name"), [(UNKNOWN_TOOL, "format_disk"), (BROKEN, "get_time")])
def test_an_unusable_call_is_handed_out_the_second_time(runs, fake, body, name, stream):
    breakers = Breakers()
    for _ in range(6):
        say(fake, body, body)
        run = runs(GROQ, request=WITH_TOOL, stream=stream, breakers=breakers)
        *_, finished = run
        (call,) = finished.completion.tool_calls
        assert (call.name, finished.completion.finish) == (name, "tool_calls")
        assert outcomes(run) == [(GROQ, "bad_reply"), (GROQ, "ok")]
    assert breakers.states() == {}


def test_the_last_call_that_a_run_may_make_is_handed_out(runs, fake):
    say(fake, UNKNOWN_TOOL)
    policy = test_routing.Policy(max_attempts=1)
    *_, finished = runs(GROQ, request=WITH_TOOL, policy=policy)
    assert finished.completion.tool_calls[0].name == "format_disk"


@pytest.mark.parametrize("body", [chunk("Sure. ") + UNKNOWN_TOOL, chunk("Sure. ") + BROKEN, BROKEN])
def test_what_cannot_be_taken_back_is_not_asked_for_again(runs, fake, body):
    say(fake, body)
    run = runs(GROQ, request=WITH_TOOL, can_restart=False)
    events = list(run)
    assert outcomes(run) == [(GROQ, "ok")]
    assert not any(isinstance(event, Restarted) for event in events)
    (call,) = events[-1].completion.tool_calls
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(delta.name for delta in deltas) == call.name
    assert "".join(delta.arguments for delta in deltas) == call.arguments


def test_an_unusable_call_before_anything_was_sent_is_asked_for_again(runs, fake):
    say(fake, UNKNOWN_TOOL, calls(fragment("{}", name="get_time", index=0, id="a")) + chunk(None, "stop"))
    run = runs(GROQ, request=WITH_TOOL, can_restart=False)
    *_, finished = run
    assert finished.completion.tool_calls[0].name == "get_time"


def test_refusal_is_whole_and_called_for_once(runs, fake):
    say(fake, chunk(delta={"refusal": "No"}) + chunk(delta={"refusal": "."}) + END)
    run = runs(GROQ, OPENROUTER)
    *events, finished = run
    assert outcomes(run) == [(GROQ, "ok")]
    said = "".join(event.text for event in events if isinstance(event, canonical.Refusal))
    completion = finished.completion
    assert (said, completion.refusal, completion.text, completion.finish) == ("No.", "No.", "", "refusal")


def test_refusal_that_rescues_a_cut_one_goes_on_after_it(runs, fake):
    say(fake, chunk(delta={"refusal": "I'm so"}))
    say(fake, chunk(delta={"refusal": "I'm sorry."}) + END, provider="openrouter")
    *events, finished = runs(GROQ, OPENROUTER)
    said = "".join(event.text for event in events if isinstance(event, canonical.Refusal))
    assert said == finished.completion.refusal == "I'm sorry."
    assert finished.completion.text == ""


def test_partial_refusal_is_kept_apart_from_text(runs, fake):
    say(fake, chunk(delta={"refusal": "I'm so"}), chunk(delta={"refusal": "I'm so"}))
    *_, failed = runs(GROQ)
    assert isinstance(failed, Failed)
    assert (failed.partial.text, failed.partial.refusal) == ("", "I'm so")


def test_thoughts_are_taken_back_behind_a_continued_beginning(runs, fake):
    beginning = "This is the beginning of an answer that is long enough. "
    say(fake, chunk(beginning), provider="openrouter")
    thoughts = [chunk("I go on"), 0.2, chunk(".\n</think>\n\nThis is the rest."), END]
    fake.script(provider="groq", raw={"pieces": thoughts})
    events = list(runs(OPENROUTER, CONTINUING))
    assert isinstance(events[-1], Finished)
    restarts = [at for at, event in enumerate(events) if isinstance(event, Restarted)]
    seen = events[restarts[-1] :] if restarts else events
    text = "".join(event.text for event in seen if isinstance(event, Text))
    assert text == events[-1].completion.text == beginning + "This is the rest."


def test_thoughts_are_taken_back_while_a_second_answer_is_held_back(runs, fake):
    say(fake, chunk("The answer is"))
    say(fake, chunk("The ") + chunk("ans. Hm.</think>The answer is 4.") + END, provider="openrouter")
    events = list(runs(GROQ, OPENROUTER))
    assert text_of(events) == events[-1].completion.text == "The answer is 4."
