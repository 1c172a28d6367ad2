"""Scenarios of several runs, or in which clients or providers do more than fail once."""

from __future__ import annotations

import json
import time

from llm.canonical import Event, Failed, Finished, Message, Request, Restarted, Text, Tool, ToolCallDelta
from llm.policy import Policy
from llm.routing import Run
from qa.chaos.harness import Harness
from qa.chaos.invariants import receipt_is, violated_invariants
from qa.chaos.scenario import SLACK_SECONDS, Result


def flapping(harness: Harness, policy: Policy, result: Result) -> None:
    """The first target fails for two and a half cool-downs, then is healthy again."""
    down = policy.breaker_seconds * 2.5
    harness.script(1, fault="503", seconds=down)
    began = time.monotonic()
    calls, skips, recovered = 0, 0, None
    while time.monotonic() - began < down + 3 * policy.breaker_seconds + SLACK_SECONDS:
        observed = harness.send()
        result.problems += violated_invariants(harness, observed)
        result.receipt = harness.receipt(observed.attempts)
        calls += result.receipt.count("1:overloaded")
        skips += result.receipt.count("1:circuit_open")
        if len(harness.route) > 1 and not isinstance(observed.end, Finished):
            result.problems.append("a client got no answer although other targets were healthy")
        if result.receipt.endswith("1:ok"):
            recovered = observed
            break
        time.sleep(policy.breaker_seconds / 20)
    result.outcome = recovered.outcome if recovered else "the first target was never called again"
    # One probe a cool-down, and the calls of the first runs before the circuit opened.
    most = policy.breaker_failures + 4
    if calls > most:
        result.problems.append(f"the failing target was called {calls} times, {most} are allowed")
    if not skips:
        result.problems.append("the circuit never opened")
    if recovered is None:
        result.problems.append("the circuit never closed")


def only_target_down(harness: Harness, policy: Policy, result: Result) -> None:
    """With one target, an open circuit fails at once and states when to retry."""
    harness.start(harness.route[:1])
    harness.script(1, fault="silent")
    for _ in range(policy.breaker_failures):
        harness.send()
    observed = harness.send()
    result.outcome, result.receipt = observed.outcome, harness.receipt(observed.attempts)
    result.problems += violated_invariants(harness, observed) + receipt_is(result.receipt, "1:circuit_open")
    if observed.seconds > policy.first_token_seconds / 2:
        result.problems.append(f"the client waited {observed.seconds:.2f} s for a target known to be down")
    if not (isinstance(observed.end, Failed) and observed.end.error.retry_after_seconds):
        result.problems.append("the error does not state when to retry")


def all_down(harness: Harness, policy: Policy, result: Result) -> None:
    harness.fake.script(fault="503")
    observed = harness.send()
    result.outcome, result.receipt = observed.outcome, harness.receipt(observed.attempts)
    result.problems += violated_invariants(harness, observed)
    calls = min(policy.max_attempts, 3 * len(harness.route))
    if len(observed.received) != calls:
        result.problems.append(f"{len(observed.received)} calls were made, not {calls}")
    if observed.outcome != "error: overloaded":
        result.problems.append(f"the client got {observed.outcome}")


def endless_trickle(harness: Harness, policy: Policy, result: Result) -> None:
    """Tokens keep arriving within their time limit until the limit of the whole answer is reached."""
    trickle = {"text": "drip " * 500, "seconds_between": policy.between_tokens_seconds / 4}
    harness.script(1, answer=trickle)
    observed = harness.send()
    result.outcome, result.receipt = observed.outcome, harness.receipt(observed.attempts)
    result.problems += violated_invariants(harness, observed) + receipt_is(result.receipt, "1:timeout")
    if not policy.total_seconds * 0.9 < observed.seconds < policy.total_seconds + SLACK_SECONDS:
        result.problems.append(
            f"the client waited {observed.seconds:.1f} s, {policy.total_seconds:.1f} s are allowed"
        )
    if not observed.text:
        result.problems.append("the partial was not kept")


def client_cancels(harness: Harness, policy: Policy, result: Result) -> None:
    harness.script(1, fault="stall-after-12")
    cancelled_at = 0.0

    def cancel_at_first_text(run: Run, event: Event) -> None:
        nonlocal cancelled_at
        if isinstance(event, Text) and not cancelled_at:
            cancelled_at = time.monotonic()
            run.cancel()

    observed = harness.send(on_event=cancel_at_first_text)
    seconds = time.monotonic() - cancelled_at
    result.outcome, result.receipt = observed.outcome, harness.receipt(observed.attempts)
    result.problems += violated_invariants(harness, observed) + receipt_is(result.receipt, "1:cancelled")
    if seconds > 1:
        result.problems.append(f"it took {seconds:.1f} s to stop")
    if not observed.text:
        result.problems.append("the partial was not kept")
    try:
        harness.fake.wait_for(lambda log: log and log[-1].disconnected_after is not None)
    except TimeoutError:
        result.problems.append("the connection to the provider was not closed")


TOOLS = (Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}),)
TOOL_CALLS = {"tool_calls": [["weather", {"city": "Reykjavik"}]]}


def tool_call_cut(harness: Harness, policy: Policy, result: Result) -> None:
    """Half a tool call must never be joined to another one."""
    harness.fake.script(answer=TOOL_CALLS)
    # Gemini sends a call in one piece, the others its name first and then fragments of its arguments.
    pieces = 1 if harness.route[0].provider == "gemini" else 3
    harness.script(1, answer=TOOL_CALLS, fault=f"cut-after-{pieces}")
    request = Request(messages=(Message("user", "How is the weather?"),), tools=TOOLS)
    observed = harness.send(request)
    result.outcome, result.receipt = observed.outcome, harness.receipt(observed.attempts)
    result.problems += violated_invariants(harness, observed) + receipt_is(result.receipt, "1:bad_reply 2:ok")
    if isinstance(observed.end, Finished):
        calls = [(call.name, json.loads(call.arguments)) for call in observed.end.completion.tool_calls]
        if calls != [("weather", {"city": "Reykjavik"})]:
            result.problems.append(f"the client got the calls {calls}")
        arguments = _joined_arguments(observed.events)
        if arguments != observed.end.completion.tool_calls[0].arguments:
            result.problems.append(f"the client's fragments join to {arguments!r}")


def _joined_arguments(events: list[Event]) -> str:
    arguments = ""
    for event in events:
        if isinstance(event, Restarted):
            arguments = ""
        elif isinstance(event, ToolCallDelta):
            arguments += event.arguments
    return arguments
