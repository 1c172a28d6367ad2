"""Every fault of a provider, and what must come of it.

What is expected is written as receipts: `1:overloaded 2:ok` means that the first
target was called and overloaded, then the second one answered. Nothing here is
taken from the code that is tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm.canonical import (
    Failed,
    Finished,
    Message,
    Request,
    Restarted,
    Started,
    Target,
    Text,
    Tool,
    ToolCallDelta,
)
from llm.catalogue import catalogue
from llm.chaos.bench import ANSWER, KEY, Bench, Seen
from llm.fake.server import fingerprint
from llm.policy import Policy

#: What the machine itself may take, on top of the clocks of the policy.
SLACK_SECONDS = 1.5

#: Long enough to be continued, short of the answer's end.
CUT = "after-12"

Allowed = Callable[[Policy], float]


@dataclass(slots=True)
class Verdict:
    """How one trial ended. It passed if `problems` is empty; `skipped` says why it was not held."""

    trial: str
    got: str = ""
    seconds: float = 0.0
    receipt: str = ""
    problems: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def passed(self) -> bool:
        return not self.problems


def no_time(policy: Policy) -> float:
    return 0.0


def backoffs(policy: Policy) -> float:
    """The longest that two retries may wait."""
    return policy.backoff_seconds * 4.5


def first_token(policy: Policy) -> float:
    return policy.first_token_seconds


def between_tokens(policy: Policy) -> float:
    return policy.between_tokens_seconds


def total(policy: Policy) -> float:
    return policy.total_seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """A fault of the first target, all others being well.

    `fault` is a spec of the fake provider; `{…}` in it are seconds of the policy, scaled.
    `expected` are the receipts allowed where the route has further targets, `alone` where
    it has none. `rescuer` picks who comes second: "plain" restarts, "prefix" continues.
    """

    name: str
    fault: str | None
    expected: str
    alone: str
    allowed: Allowed = no_time
    least: Allowed = no_time
    alerts: int = 0
    rescuer: str = ""
    restarts: int = 0
    times: int | None = None
    second: dict[str, object] = field(default_factory=dict)
    check: Callable[[Bench, Seen], list[str]] = lambda bench, seen: []

    def judge(self, bench: Bench, route: Sequence[Target], policy: Policy) -> Verdict:
        verdict = Verdict(self.name)
        chosen = _with_rescuer(route, self.rescuer)
        if chosen is None:
            verdict.skipped = f"no target after the first is known to {_RESCUERS[self.rescuer]}"
            return verdict
        bench.begin(chosen)
        if self.second:
            bench.script(2, **self.second)
        if self.fault:
            bench.script(1, fault=_scaled(self.fault, policy), times=self.times)
        seen = bench.ask()
        verdict.got, verdict.seconds = seen.got, seen.seconds
        verdict.receipt = bench.receipt(seen.attempts)
        expected = self.expected if len(chosen) > 1 else self.alone
        verdict.problems = [
            *_receipt_problems(verdict.receipt, _for_windows(expected, chosen)),
            *promises(bench, seen),
            *self._figures(seen, policy),
            *self.check(bench, seen),
        ]
        return verdict

    def _figures(self, seen: Seen, policy: Policy) -> list[str]:
        problems = []
        if seen.seconds > self.allowed(policy) + SLACK_SECONDS:
            problems.append(
                f"took {seen.seconds:.1f} s, {self.allowed(policy) + SLACK_SECONDS:.1f} s are allowed"
            )
        if seen.seconds < self.least(policy):
            problems.append(
                f"took {seen.seconds:.2f} s, at least {self.least(policy):.2f} s were to be waited"
            )
        if seen.restarts != self.restarts:
            problems.append(f"{seen.restarts} restarts were sent, not {self.restarts}")
        if seen.alerts != self.alerts:
            problems.append(f"{seen.alerts} alerts were raised, not {self.alerts}")
        return problems


# -- what holds for every run ----------------------------------------------------


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


def _receipt_problems(receipt: str, allowed: str) -> list[str]:
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


def says(text: str) -> Callable[[Bench, Seen], list[str]]:
    def check(bench: Bench, seen: Seen) -> list[str]:
        return [] if seen.text == text else [f"the client has {seen.text[:60]!r}, not {text[:60]!r}"]

    return check


def reason_given(bench: Bench, seen: Seen) -> list[str]:
    match seen.end:
        case Failed(error) if str(error):
            return []
    return ["no reason was given"]


# -- routes and clocks ------------------------------------------------------------

_RESCUERS = {"prefix": "continue a partial answer", "plain": "start again only"}


def _with_rescuer(route: Sequence[Target], rescuer: str) -> tuple[Target, ...] | None:
    """Return the route with a fitting target second; None if it has none."""
    if not rescuer or (len(route) == 1 and rescuer == "plain"):
        return tuple(route)
    known = catalogue()
    fitting = [
        target for target in route[1:] if bool(known.get(target).assistant_prefix) is (rescuer == "prefix")
    ]
    return (route[0], fitting[0]) if fitting else None


def _for_windows(expected: str, route: Sequence[Target]) -> str:
    """Fill in for `L` the first target whose window is larger than the first one's."""
    if "L:" not in expected:
        return expected
    known = catalogue()
    first = known.get(route[0]).context_window or 0
    larger = [
        position
        for position, target in enumerate(route, 1)
        if (known.get(target).context_window or 0) > first
    ]
    return expected.replace("L:ok", f"{larger[0]}:ok" if larger else "").strip()


def _scaled(fault: str, policy: Policy) -> str:
    return fault.format(
        short=f"{policy.retry_after_seconds / 10:g}",
        long=f"{policy.retry_after_seconds * 1.2:g}",
        slow=f"{policy.first_token_seconds / 2:g}",
    )


def _thrice(outcome: str) -> str:
    return " ".join([f"1:{outcome}"] * 3)


# -- trials of their own kind -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Story:
    """A trial that takes more than one run, or a client that acts; `tell` returns its verdict."""

    name: str
    tell: Callable[[Bench, Policy, Verdict], None]
    least_targets: int = 1

    def judge(self, bench: Bench, route: Sequence[Target], policy: Policy) -> Verdict:
        verdict = Verdict(self.name)
        if len(route) < self.least_targets:
            verdict.skipped = f"the route has fewer than {self.least_targets} targets"
            return verdict
        bench.begin(route)
        began = time.monotonic()
        self.tell(bench, policy, verdict)
        verdict.seconds = time.monotonic() - began
        return verdict


def _flapping(bench: Bench, policy: Policy, verdict: Verdict) -> None:
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


def _lone_target_down(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """With one target, an open circuit answers at once and says when to come back."""
    bench.begin(bench.route[:1])
    bench.script(1, fault="silent")
    for _ in range(policy.breaker_failures):
        seen = bench.ask()
    began = time.monotonic()
    seen = bench.ask()
    waited = time.monotonic() - began
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + _receipt_problems(verdict.receipt, "1:circuit_open")
    if waited > policy.first_token_seconds / 2:
        verdict.problems.append(f"the client waited {waited:.2f} s for a target known to be down")
    if not (isinstance(seen.end, Failed) and seen.end.error.retry_after_seconds):
        verdict.problems.append("the client was not told when to come back")


def _all_down(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    bench.fake.script(fault="503")
    seen = bench.ask()
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen)
    calls = min(policy.max_attempts, 3 * len(bench.route))
    if len(seen.received) != calls:
        verdict.problems.append(f"{len(seen.received)} calls were made, not {calls}")
    if seen.got != "error: overloaded":
        verdict.problems.append(f"the client got {seen.got}")


def _trickle(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """Tokens keep coming, just fast enough, until the time of the whole answer is over."""
    endless = {"text": "drip " * 500, "seconds_between": policy.between_tokens_seconds / 4}
    bench.script(1, answer=endless)
    seen = bench.ask()
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + _receipt_problems(verdict.receipt, "1:timeout")
    if not policy.total_seconds * 0.9 < seen.seconds < policy.total_seconds + SLACK_SECONDS:
        verdict.problems.append(
            f"the client waited {seen.seconds:.1f} s, {policy.total_seconds:.1f} s are allowed"
        )
    if not seen.text:
        verdict.problems.append("the partial was not kept")


def _client_cancels(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    bench.script(1, fault=f"stall-{CUT}")
    cancelled_at = 0.0

    def on_event(run, event) -> None:
        nonlocal cancelled_at
        if isinstance(event, Text) and not cancelled_at:
            cancelled_at = time.monotonic()
            run.cancel()

    seen = bench.ask(on_event=on_event)
    took = time.monotonic() - cancelled_at
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + _receipt_problems(verdict.receipt, "1:cancelled")
    if took > 1:
        verdict.problems.append(f"it took {took:.1f} s to stop")
    if not seen.text:
        verdict.problems.append("the partial was not kept")
    try:
        bench.fake.wait_for(lambda log: log and log[-1].hung_up_after is not None)
    except TimeoutError:
        verdict.problems.append("the provider was not hung up on")


TOOLS = (Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}),)


def _tool_call_cut(bench: Bench, policy: Policy, verdict: Verdict) -> None:
    """Half a tool call must never be joined to another one."""
    calling = {"tool_calls": [["weather", {"city": "Reykjavik"}]]}
    bench.fake.script(answer=calling)
    bench.script(1, answer=calling, fault="cut-after-3")
    question = Request(messages=(Message("user", "How is the weather?"),), tools=TOOLS)
    seen = bench.ask(question)
    verdict.got, verdict.receipt = seen.got, bench.receipt(seen.attempts)
    verdict.problems += promises(bench, seen) + _receipt_problems(verdict.receipt, "1:bad_reply 2:ok")
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


# -- the table --------------------------------------------------------------------

_OTHER = "Nothing that was said before is true: " + ANSWER

TRIALS: tuple[Trial | Story, ...] = (
    Trial("nothing wrong", None, "1:ok", "1:ok", check=whole),
    # Refusals.
    Trial(
        "429 once, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:ok",
        "1:rate_limit 1:ok",
        allowed=lambda policy: policy.retry_after_seconds / 10,
        least=lambda policy: policy.retry_after_seconds / 10,
        times=1,
        check=whole,
    ),
    Trial(
        "429 always, short Retry-After",
        "429-wait-{short}",
        "1:rate_limit 1:rate_limit 2:ok",
        "1:rate_limit 1:rate_limit",
        allowed=lambda policy: policy.retry_after_seconds / 10,
        check=whole_or_failed,
    ),
    Trial(
        "429, Retry-After too long",
        "429-wait-{long}",
        "1:rate_limit 2:ok",
        "1:rate_limit",
        check=whole_or_failed,
    ),
    Trial("429 without Retry-After", "429-bare", "1:rate_limit 2:ok", "1:rate_limit", check=whole_or_failed),
    Trial(
        "500 once",
        "500",
        "1:overloaded 1:ok",
        "1:overloaded 1:ok",
        allowed=backoffs,
        times=1,
        check=waits_between,
    ),
    *(
        Trial(
            f"{status} always",
            status,
            _thrice("overloaded") + " 2:ok",
            _thrice("overloaded"),
            allowed=backoffs,
            check=waits_between,
        )
        for status in ("500", "503", "529")
    ),
    Trial(
        "502 as a page of HTML",
        "502-html",
        _thrice("overloaded") + " 2:ok",
        _thrice("overloaded"),
        allowed=backoffs,
        check=waits_between,
    ),
    Trial("401, wrong key", "401", "1:auth 2:ok", "1:auth", alerts=1, check=whole_or_failed),
    Trial("402, no credit", "402", "1:billing 2:ok", "1:billing", alerts=1, check=whole_or_failed),
    Trial("404, unknown model", "404", "1:not_found 2:ok", "1:not_found", alerts=1, check=whole_or_failed),
    Trial("400, bad request", "400", "1:bad_request", "1:bad_request", check=reason_given),
    Trial(
        "context length", "context-length", "1:context_length L:ok", "1:context_length", check=whole_or_failed
    ),
    Trial("content filter", "prompt-blocked", "1:blocked", "1:blocked", check=reason_given),
    Trial("content filter in the answer", f"content-filter-{CUT}", "1:blocked", "1:blocked", check=kept),
    Trial(
        "redirect to another host",
        "redirect",
        "1:bad_reply 1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=whole_or_failed,
    ),
    # Connections and clocks.
    Trial(
        "connection reset before headers",
        "reset",
        _thrice("network") + " 2:ok",
        _thrice("network"),
        allowed=backoffs,
        check=whole_or_failed,
    ),
    Trial(
        "no answer at all",
        "silent",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "comments for ever",
        "comments",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "empty chunks for ever",
        "empty-chunks",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=first_token,
        check=whole_or_failed,
    ),
    Trial(
        "slow first token, in time",
        "slow-first-token-wait-{slow}",
        "1:ok",
        "1:ok",
        allowed=first_token,
        least=lambda policy: policy.first_token_seconds / 2,
        check=whole,
    ),
    # Answers that break after their first token.
    Trial(
        "cut mid-answer, with FIN",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        check=kept,
    ),
    Trial(
        "cut mid-answer, once, no other target",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:ok",
        times=1,
        check=whole,
    ),
    Trial(
        "cut mid-answer, with RST",
        f"cut-reset-{CUT}",
        "1:network 1:network 2:ok",
        "1:network 1:network",
        check=kept,
    ),
    Trial(
        "body ends mid-answer", f"cut-clean-{CUT}", "1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=kept
    ),
    Trial(
        "stall mid-answer, without FIN",
        f"stall-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=between_tokens,
        check=kept,
    ),
    Trial(
        "comments instead of the rest",
        f"comments-mid-stream-{CUT}",
        "1:timeout 2:ok",
        "1:timeout",
        allowed=between_tokens,
        check=kept,
    ),
    Trial("malformed chunk", f"malformed-{CUT}", "1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=kept),
    Trial(
        "error event mid-answer",
        f"error-event-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=kept,
    ),
    Trial(
        "error chunk mid-answer",
        f"error-chunk-{CUT}",
        "1:overloaded 2:ok",
        "1:overloaded 1:overloaded",
        check=kept,
    ),
    Trial(
        "all text, no finish reason",
        "no-finish",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        check=kept,
    ),
    Trial("whole answer, no [DONE]", "no-done", "1:ok", "1:ok", check=whole),
    Trial(
        "endless answer",
        "endless",
        "1:too_large 2:ok",
        "1:too_large",
        restarts=1,
        allowed=total,
        check=whole_or_failed,
    ),
    # How a broken answer is rescued.
    Trial("rescued by continuing", f"cut-{CUT}", "1:bad_reply 2:ok", "", rescuer="prefix", check=continued),
    Trial(
        "rescuer refuses the prefix",
        f"cut-{CUT}",
        "1:bad_reply 2:bad_request 2:ok",
        "",
        rescuer="prefix",
        second={"fault": "prefix-rejected"},
        check=whole,
    ),
    Trial(
        "rescuer starts again instead",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "",
        rescuer="prefix",
        restarts=1,
        second={"answer": {"text": ANSWER[:40] + " and nothing else."}},
        check=says(ANSWER[:40] + " and nothing else."),
    ),
    Trial(
        "rescuer says something else",
        f"cut-{CUT}",
        "1:bad_reply 2:ok",
        "1:bad_reply 1:bad_reply",
        rescuer="plain",
        restarts=1,
        second={"answer": {"text": _OTHER}},
        check=says(_OTHER),
    ),
    Story("cut within a tool call", _tool_call_cut, least_targets=2),
    # Answers that are none, or hard to read.
    Trial(
        "200 with an error",
        "error-200",
        _thrice("overloaded") + " 2:ok | 1:bad_reply 1:bad_reply 2:ok",
        _thrice("overloaded") + " | 1:bad_reply 1:bad_reply",
        allowed=backoffs,
        check=whole_or_failed,
    ),
    *(
        Trial(name, fault, "1:bad_reply 1:bad_reply 2:ok", "1:bad_reply 1:bad_reply", check=whole_or_failed)
        for name, fault in {
            "page of HTML": "html",
            "empty body": "empty",
            "empty answer": "empty-answer",
            "wrong encoding": "wrong-encoding",
            "not even HTTP": "not-http",
        }.items()
    ),
    Trial("gzip", "gzip", "1:ok", "1:ok", check=whole),
    Trial("token of 1 MB", "huge-token", "1:ok", "1:ok", check=says("x" * 1_000_000)),
    Trial("JSON for a stream", "json-for-stream", "1:ok", "1:ok", check=whole),
    Trial("a byte at a time", "bytewise", "1:ok", "1:ok", check=whole),
    # More than one run, or more than one target.
    Story("flapping: down for a while", _flapping),
    Story("only target down: circuit open", _lone_target_down),
    Story("every target down", _all_down),
    Story("answer that takes for ever", _trickle),
    Story("client cancels", _client_cancels),
)
