"""What a trial is: a fault of the first target, or a story of several runs, and a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm.canonical import Finished, Target
from llm.catalogue import catalogue
from llm.policy import Policy
from qa.chaos.harness import Bench, Seen
from qa.chaos.invariants import Check, promises, receipt_is

#: What the machine itself may take, on top of the clocks of the policy.
SLACK_SECONDS = 2.5

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
    check: Check = lambda bench, seen: []

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
            *receipt_is(verdict.receipt, _for_windows(expected, chosen)),
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
        if isinstance(seen.end, Finished) and seen.restarts != self.restarts:
            problems.append(f"{seen.restarts} restarts were sent, not {self.restarts}")
        if seen.alerts != self.alerts:
            problems.append(f"{seen.alerts} alerts were raised, not {self.alerts}")
        return problems


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


# -- routes and clocks ------------------------------------------------------------

_RESCUERS = {"prefix": "continue a partial answer", "plain": "start again only"}


def _with_rescuer(route: Sequence[Target], rescuer: str) -> tuple[Target, ...] | None:
    """Return the route with a fitting target second; None if it has none."""
    if not rescuer:
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
