"""A scenario: a fault of the first target, or several runs; and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm.canonical import Finished, Target
from llm.catalogue import catalogue
from llm.policy import Policy
from qa.chaos.harness import Harness, Observation
from qa.chaos.invariants import Check, receipt_is, violated_invariants

#: For the machine, on top of the times of the policy.
SLACK_SECONDS = 2.5

Seconds = Callable[[Policy], float]


@dataclass(slots=True)
class Result:
    """The result of one scenario, which passed if `problems` is empty.

    `outcome` is what the client got, in a few words; `skipped` is the reason why the scenario did not run.
    """

    scenario: str
    outcome: str = ""
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
    return policy.first_token_seconds * 2  # of a model that thinks


def between_tokens(policy: Policy) -> float:
    return policy.between_tokens_seconds


def total(policy: Policy) -> float:
    return policy.total_seconds


@dataclass(frozen=True, slots=True)
class FaultScenario:
    """A fault of the first target, while all others are healthy.

    `fault` is a spec of the fake provider; `{…}` in it are seconds of the policy, scaled.
    `expected` are the receipts allowed where the route has further targets, `expected_alone` where
    it has none, and `longest_alone` how long that may take. `rescuer` selects the second target:
    "plain" restarts, "prefix" continues. `second_target` is a script for it; `times` limits the
    fault to the first calls.
    """

    name: str
    fault: str | None
    expected: str
    expected_alone: str
    longest: Seconds = no_time
    longest_alone: Seconds | None = None
    shortest: Seconds = no_time
    alerts: int = 0
    rescuer: str = ""
    restarts: int = 0
    times: int | None = None
    second_target: dict[str, object] = field(default_factory=dict)
    check: Check = lambda harness, observed: []

    def evaluate(self, harness: Harness, route: Sequence[Target], policy: Policy) -> Result:
        result = Result(self.name)
        selected = _with_rescuer(route, self.rescuer)
        if selected is None:
            result.skipped = f"no target after the first is known to {_RESCUERS[self.rescuer]}"
            return result
        harness.start(selected)
        if self.second_target:
            harness.script(2, **self.second_target)
        if self.fault:
            harness.script(1, fault=_scaled(self.fault, policy), times=self.times)
        observed = harness.send()
        result.outcome, result.seconds = observed.outcome, observed.seconds
        result.receipt = harness.receipt(observed.attempts)
        expected = self.expected if len(selected) > 1 else self.expected_alone
        result.problems = [
            *receipt_is(result.receipt, _with_larger_window(expected, selected)),
            *violated_invariants(harness, observed),
            *self._wrong_numbers(observed, policy, is_alone=len(selected) == 1),
            *self.check(harness, observed),
        ]
        return result

    def _wrong_numbers(self, observed: Observation, policy: Policy, *, is_alone: bool) -> list[str]:
        problems = []
        limit = (self.longest_alone if is_alone else None) or self.longest
        longest, shortest = limit(policy) + SLACK_SECONDS, self.shortest(policy)
        if observed.seconds > longest:
            problems.append(f"took {observed.seconds:.1f} s, {longest:.1f} s are allowed")
        if observed.seconds < shortest:
            problems.append(f"took {observed.seconds:.2f} s, a wait of {shortest:.2f} s is expected")
        if isinstance(observed.end, Finished) and observed.restarts != self.restarts:
            problems.append(f"{observed.restarts} restarts were sent, not {self.restarts}")
        if observed.alerts != self.alerts:
            problems.append(f"{observed.alerts} alerts were logged, not {self.alerts}")
        return problems


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario of several runs, or of a client that acts; `run` fills in its result."""

    name: str
    run: Callable[[Harness, Policy, Result], None]
    min_targets: int = 1

    def evaluate(self, harness: Harness, route: Sequence[Target], policy: Policy) -> Result:
        result = Result(self.name)
        if len(route) < self.min_targets:
            result.skipped = f"the route has fewer than {self.min_targets} targets"
            return result
        harness.start(route)
        began = time.monotonic()
        self.run(harness, policy, result)
        result.seconds = time.monotonic() - began
        return result


# -- routes and times ------------------------------------------------------------

_RESCUERS = {"prefix": "continue a partial answer", "plain": "restart only"}


def _with_rescuer(route: Sequence[Target], rescuer: str) -> tuple[Target, ...] | None:
    """Return the first target and a fitting second one; None if the route has none."""
    if not rescuer:
        return tuple(route)
    known = catalogue()
    fitting = [
        target for target in route[1:] if bool(known.get(target).assistant_prefix) is (rescuer == "prefix")
    ]
    return (route[0], fitting[0]) if fitting else None


def _with_larger_window(expected: str, route: Sequence[Target]) -> str:
    """Replace `L` by the position of the first target whose context window is larger than the first one's."""
    if "L:" not in expected:
        return expected
    known = catalogue()
    first = known.get(route[0]).context_window or 0
    larger = [
        position
        for position, target in enumerate(route, 1)
        if (known.get(target).context_window or first + 1) > first  # An unknown one is tried.
    ]
    return expected.replace("L:ok", f"{larger[0]}:ok" if larger else "").strip()


def _scaled(fault: str, policy: Policy) -> str:
    return fault.format(
        short=f"{policy.retry_after_seconds / 10:g}",
        long=f"{policy.retry_after_seconds * 1.2:g}",
        slow=f"{policy.first_token_seconds / 2:g}",
    )
