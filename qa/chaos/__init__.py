"""A route put through every fault of a provider: what its clients get, when, and after which calls."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

from llm.canonical import Target
from llm.policy import Policy
from llm.routing import Run
from qa.chaos.fault_scenario import Story, Trial, Verdict
from qa.chaos.fault_scenarios import TRIALS
from qa.chaos.harness import Bench
from qa.fake_provider.server import FakeProvider

__all__ = ["TRIALS", "Verdict", "run"]

_AT_ONCE = 6


def run(
    route: Sequence[Target], policy: Policy, *, only: Sequence[str] = (), run_class: type[Run] = Run
) -> list[Verdict]:
    """Put `route` through every trial, or those named `only`, and return a verdict for each, in order.

    What is expected comes from `policy`; `run_class` is what is tried.
    """
    trials = [trial for trial in TRIALS if not only or trial.name in only]
    benches: SimpleQueue[Bench] = SimpleQueue()

    def judge(trial: Trial | Story) -> Verdict:
        bench = benches.get()
        try:
            return trial.judge(bench, route, policy)
        finally:
            benches.put(bench)

    at_once = min(_AT_ONCE, len(trials))
    with ExitStack() as stack:
        for _ in range(at_once):
            benches.put(Bench(stack.enter_context(FakeProvider()), policy, run_class))
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(judge, trials))
