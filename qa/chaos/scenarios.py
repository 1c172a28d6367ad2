"""Trials that take more than one run, or a client or providers that do more than fail once."""

from __future__ import annotations

import json
import time

from llm.canonical import Failed, Finished, Message, Request, Restarted, Text, Tool, ToolCallDelta
from llm.policy import Policy
from qa.chaos.fault_scenario import SLACK_SECONDS, Verdict
from qa.chaos.harness import Bench
from qa.chaos.invariants import promises, receipt_is


def flapping(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """The first target fails for two and a half cool-downs, then is well again."""
    down = policy.breaker_seconds * 2.5
    bench.script(1, fault="503", seconds=down)
    began = time.monotonic()
    calls, skips, answer = 0, 0, None
    while time.monotonic() - began < down + 3 * policy.breaker_seconds + SLACK_SECONDS:
        seen = bench.ask()
        verdict.problems += promises(bench, seen)
        verdict.receipt = bench.receipt(seen.attempts)
        calls += verdict.receipt.count("1:overloaded")
        skips += verdict.receipt.count("1:circuit_open")
        if len(bench.route) > 1 and not isinstance(seen.end, Finished):
            verdict.problems.append("a client went without an answer although others were well")
        if verdict.receipt.endswith("1:ok"):
            answer = seen
            break
        time.sleep(policy.breaker_seconds / 20)
    verdict.got = answer.got if answer else "the first target was never called again"
    # One probe a cool-down; and those that the first runs began before the circuit opened.
    most = policy.breaker_failures + 4
    if calls > most:
        verdict.problems.append(f"the failing target was called {calls} times, {most} are allowed")
    if not skips:
        verdict.problems.append("the circuit never opened")
    if answer is None:
        verdict.problems.append("the circuit never closed")


def lone_target_down(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """With one target, an open circuit answers at once and says when to come back."""
    bench.begin(bench.route[:1])
    bench.script(1, fault="silent")
    for _ in range(policy.breaker_failures):
        seen = bench.ask()
    began = time.monotonic()
    seen = bench.ask()
    waited = time.monotonic() - began
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + receipt_is(verdict.receipt, "1:circuit_open")
    if waited > policy.first_token_seconds / 2:
        verdict.problems.append(f"the client waited {waited:.2f} s for a target known to be down")
    if not (isinstance(seen.end, Failed) and seen.end.error.retry_after_seconds):
        verdict.problems.append("the client was not told when to come back")


def all_down(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    bench.fake.script(fault="503")
    seen = bench.ask()
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen)
    calls = min(policy.max_attempts, 3 * len(bench.route))
    if len(seen.received) != calls:
        verdict.problems.append(f"{len(seen.received)} calls were made, not {calls}")
    if seen.got != "error: overloaded":
        verdict.problems.append(f"the client got {seen.got}")


def trickle(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """Tokens keep coming, just fast enough, until the time of the whole answer is over."""
    endless = {"text": "drip " * 500, "seconds_between": policy.between_tokens_seconds / 4}
    bench.script(1, answer=endless)
    seen = bench.ask()
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + receipt_is(verdict.receipt, "1:timeout")
    if not policy.total_seconds * 0.9 < seen.seconds < policy.total_seconds + SLACK_SECONDS:
        verdict.problems.append(
            f"the client waited {seen.seconds:.1f} s, {policy.total_seconds:.1f} s are allowed"
        )
    if not seen.text:
        verdict.problems.append("the partial was not kept")


def client_cancels(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    bench.script(1, fault="stall-after-12")
    cancelled_at = 0.0

    def on_event(run, event) -> None:
        nonlocal cancelled_at
        if isinstance(event, Text) and not cancelled_at:
            cancelled_at = time.monotonic()
            run.cancel()

    seen = bench.ask(on_event=on_event)
    took = time.monotonic() - cancelled_at
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + receipt_is(verdict.receipt, "1:cancelled")
    if took > 1:
        verdict.problems.append(f"it took {took:.1f} s to stop")
    if not seen.text:
        verdict.problems.append("the partial was not kept")
    try:
        bench.fake.wait_for(lambda log: log and log[-1].hung_up_after is not None)
    except TimeoutError:
        verdict.problems.append("the provider was not hung up on")


TOOLS = (Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}),)


def tool_call_cut(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """Half a tool call must never be joined to another one."""
    calling = {"tool_calls": [["weather", {"city": "Reykjavik"}]]}
    bench.fake.script(answer=calling)
    # Gemini sends a call in one piece, the others its name first and then bits of its arguments.
    pieces = 1 if bench.route[0].provider == "gemini" else 3
    bench.script(1, answer=calling, fault=f"cut-after-{pieces}")
    question = Request(messages=(Message("user", "How is the weather?"),), tools=TOOLS)
    seen = bench.ask(question)
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + receipt_is(verdict.receipt, "1:bad_reply 2:ok")
    arguments = ""
    for event in seen.events:
        if isinstance(event, Restarted):
            arguments = ""
        elif isinstance(event, ToolCallDelta):
            arguments += event.arguments
    if isinstance(seen.end, Finished):
        calls = [(call.name, json.loads(call.arguments)) for call in seen.end.completion.tool_calls]
        if calls != [("weather", {"city": "Reykjavik"})]:
            verdict.problems.append(f"the client got the calls {calls}")
        if arguments != seen.end.completion.tool_calls[0].arguments:
            verdict.problems.append(f"the client's fragments join to {arguments!r}")
