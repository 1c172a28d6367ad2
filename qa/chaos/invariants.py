"""What every run is checked for, whatever its providers do, and further checks of scenarios."""

from __future__ import annotations

from collections.abc import Callable

from llm.canonical import Failed, Finished, Started
from qa.chaos.harness import ANSWER, KEY, Harness, Observation
from qa.fake_provider.server import fingerprint

#: Returns the problems of a run, in words; an empty list if there are none.
Check = Callable[[Harness, Observation], list[str]]


def violated_invariants(harness: Harness, observed: Observation) -> list[str]:
    problems = []
    ends = [event for event in observed.events if isinstance(event, Finished | Failed)]
    if len(ends) != 1 or not isinstance(observed.end, Finished | Failed):
        problems.append("the stream did not end with exactly one Finished or Failed")
    if len(observed.events) > 1 and not isinstance(observed.events[0], Started):
        problems.append("the stream did not begin with Started")
    problems += _end_problems(observed)
    called = [line for line in observed.attempts if line.outcome != "circuit_open"]
    if len(called) != len(observed.received):
        problems.append(f"{len(observed.received)} calls were made, the receipt has {len(called)}")
    if any(entry.key != fingerprint(KEY) for entry in observed.received if entry.provider not in _KEYLESS):
        problems.append("a call was sent without the provider's key")
    providers = {target.provider for target in harness.route}
    if any(entry.provider not in providers for entry in observed.received):
        problems.append("a redirect was followed")
    for line in observed.attempts:
        reported = line.usage.cost is not None or (line.usage.total and not line.usage.estimated)
        if line.outcome not in ("ok", "cancelled") and line.cost != 0 and not (reported or line.delivered):
            problems.append(f"the failed attempt at {line.target} was billed by an estimate")
    return problems


def _end_problems(observed: Observation) -> list[str]:
    match observed.end:
        case Finished(completion):
            what, text = "the answer", completion.text
            succeeded = [line.target for line in observed.attempts if line.outcome == "ok"]
            if succeeded != [completion.target]:
                return [f"the answer names {completion.target}, the receipt {succeeded}"]
            if completion.finish not in ("stop", "tool_calls"):
                return [f"the answer ended with {completion.finish}"]
        case Failed(_, partial) if partial:
            what, text = "the partial", partial.text
        case _:
            what, text = "nothing", ""
    if observed.text != text:
        return [f"the client has {len(observed.text)} characters, {what} has {len(text)}"]
    return []


_KEYLESS = {"openai_compatible", "local"}


def receipt_is(receipt: str, allowed: str) -> list[str]:
    if receipt in allowed.split(" | "):
        return []
    return [f"attempts were {receipt or 'none'}, not {allowed}"]


def is_complete(harness: Harness, observed: Observation) -> list[str]:
    """The client has the complete answer."""
    if observed.text == ANSWER:
        return []
    return [f"the answer has {len(observed.text)} of {len(ANSWER)} characters"]


def keeps_partial(harness: Harness, observed: Observation) -> list[str]:
    """The client has the complete answer or, after a failure, its beginning."""
    if isinstance(observed.end, Finished):
        return is_complete(harness, observed)
    return [] if observed.text and ANSWER.startswith(observed.text) else ["the partial was not kept"]


def is_complete_or_failed(harness: Harness, observed: Observation) -> list[str]:
    return is_complete(harness, observed) if isinstance(observed.end, Finished) else []


def waits_between_retries(harness: Harness, observed: Observation) -> list[str]:
    waits = [line.waited_ms for line in observed.attempts if line.outcome == "overloaded"][1:]
    if harness.policy.backoff_seconds >= 0.02 and not all(waits):
        return [f"retries waited {waits} ms"]
    return is_complete_or_failed(harness, observed)


def is_continued(harness: Harness, observed: Observation) -> list[str]:
    """The second target received the partial answer, and the client only the rest."""
    last = observed.received[-1].body.get("messages", [{}])[-1]
    if last.get("role") != "assistant" or not ANSWER.startswith(last.get("content") or "-"):
        return ["the rescuer did not receive the partial answer"]
    return is_complete(harness, observed)


def text_is(text: str) -> Check:
    def check(harness: Harness, observed: Observation) -> list[str]:
        return [] if observed.text == text else [f"the client has {observed.text[:60]!r}, not {text[:60]!r}"]

    return check


def has_reason(harness: Harness, observed: Observation) -> list[str]:
    match observed.end:
        case Failed(error) if str(error):
            return []
    return ["the error has no reason"]
