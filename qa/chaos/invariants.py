"""What must hold of a run, whatever its providers did, and what else a trial may ask of it."""

from __future__ import annotations

from collections.abc import Callable

from llm.canonical import Failed, Finished, Started
from qa.chaos.harness import ANSWER, KEY, Bench, Seen
from qa.fake_provider.server import fingerprint

#: Answers what is wrong with a run, in sentences; nothing if all is well.
Check = Callable[[Bench, Seen], list[str]]


def promises(bench: Bench, seen: Seen) -> list[str]:
    """Return what is wrong with a run, whatever its providers did."""
    problems = []
    ends = [event for event in seen.events if isinstance(event, Finished | Failed)]
    if len(ends) != 1 or not isinstance(seen.end, Finished | Failed):
        problems.append("the stream did not end with exactly one Finished or Failed")
    if len(seen.events) > 1 and not isinstance(seen.events[0], Started):
        problems.append("the stream did not begin with Started")
    problems += _end_problems(seen)
    called = [line for line in seen.attempts if line.outcome != "circuit_open"]
    if len(called) != len(seen.received):
        problems.append(f"{len(seen.received)} calls were made, the receipt has {len(called)}")
    if any(entry.key != fingerprint(KEY) for entry in seen.received if entry.provider not in _KEYLESS):
        problems.append("a call went out without the provider's key")
    if any(entry.provider not in {target.provider for target in bench.route} for entry in seen.received):
        problems.append("a call went where it was redirected to")
    for line in seen.attempts:
        said_by_provider = line.usage.cost is not None or (line.usage.total and not line.usage.estimated)
        if line.outcome not in ("ok", "cancelled") and line.cost != 0 and not said_by_provider:
            problems.append(f"the failed attempt at {line.target} was billed on a guess")
    return problems


def _end_problems(seen: Seen) -> list[str]:
    match seen.end:
        case Finished(completion):
            said = ("the answer", completion.text)
            answered = [line.target for line in seen.attempts if line.outcome == "ok"]
            if answered != [completion.target]:
                return [f"{completion.target} is named, the receipt says {answered}"]
            if completion.finish not in ("stop", "tool_calls"):
                return [f"the answer ended with {completion.finish}"]
        case Failed(_, partial) if partial:
            said = ("the partial", partial.text)
        case _:
            said = ("nothing", "")
    if seen.text != said[1]:
        return [f"the client has {len(seen.text)} characters, {said[0]} has {len(said[1])}"]
    return []


_KEYLESS = {"openai_compatible", "local"}


def receipt_is(receipt: str, allowed: str) -> list[str]:
    if receipt in allowed.split(" | "):
        return []
    return [f"attempts were {receipt or 'none'}, not {allowed}"]


def whole(bench: Bench, seen: Seen) -> list[str]:
    """The client must have the whole answer."""
    return [] if seen.text == ANSWER else [f"the answer has {len(seen.text)} of {len(ANSWER)} characters"]


def kept(bench: Bench, seen: Seen) -> list[str]:
    """The client must have the whole answer or, where it failed, its beginning."""
    if isinstance(seen.end, Finished):
        return whole(bench, seen)
    return [] if seen.text and ANSWER.startswith(seen.text) else ["the partial was not kept"]


def whole_or_failed(bench: Bench, seen: Seen) -> list[str]:
    return whole(bench, seen) if isinstance(seen.end, Finished) else []


def waits_between(bench: Bench, seen: Seen) -> list[str]:
    """Each retry of the first target must have waited, and not for the same time."""
    waits = [line.waited_ms for line in seen.attempts if line.outcome == "overloaded"][1:]
    if bench.policy.backoff_seconds >= 0.02 and not all(waits):
        return [f"retries waited {waits} ms"]
    return whole_or_failed(bench, seen)


def continued(bench: Bench, seen: Seen) -> list[str]:
    """The second target must have been given the partial, and only the rest have been added."""
    last = seen.received[-1].body.get("messages", [{}])[-1]
    if last.get("role") != "assistant" or not ANSWER.startswith(last.get("content") or "-"):
        return ["the partial was not given to the rescuer to be continued"]
    return whole(bench, seen)


def says(text: str) -> Check:
    def check(bench: Bench, seen: Seen) -> list[str]:
        return [] if seen.text == text else [f"the client has {seen.text[:60]!r}, not {text[:60]!r}"]

    return check


def reason_given(bench: Bench, seen: Seen) -> list[str]:
    match seen.end:
        case Failed(error) if str(error):
            return []
    return ["no reason was given"]
