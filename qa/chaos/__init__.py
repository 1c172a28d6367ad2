"""Fault injection: a route is run through every fault of a provider, and its clients' results are checked.

`run` is the entry point. `scenario` defines what a scenario is, `fault_scenarios` lists all of them,
`multi_run_scenarios` has those of several runs, `invariants` what every run is checked for, `harness` sends
the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

from llm.canonical import Target
from llm.policy import Policy
from llm.routing import Run
from qa.chaos.fault_scenarios import SCENARIOS
from qa.chaos.harness import Harness
from qa.chaos.scenario import FaultScenario, Result, Scenario
from qa.fake_provider.server import FakeProvider

__all__ = ["SCENARIOS", "Result", "run"]

_CONCURRENT_SCENARIOS = 6


def run(
    route: Sequence[Target], policy: Policy, *, only: Sequence[str] = (), run_class: type[Run] = Run
) -> list[Result]:
    """Run `route` through every scenario, or those named `only`, and return a result for each, in order.

    Expected times and numbers of calls follow from `policy`; `run_class` is the class under test.
    """
    scenarios = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    harnesses: SimpleQueue[Harness] = SimpleQueue()

    def evaluate(scenario: FaultScenario | Scenario) -> Result:
        harness = harnesses.get()
        try:
            return scenario.evaluate(harness, route, policy)
        finally:
            harnesses.put(harness)

    workers = min(_CONCURRENT_SCENARIOS, len(scenarios))
    with ExitStack() as stack:
        for _ in range(workers):
            harnesses.put(Harness(stack.enter_context(FakeProvider()), policy, run_class))
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(evaluate, scenarios))
