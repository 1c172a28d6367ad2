"""Runs a route through every fault of a provider and prints what its clients get."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llm.policy import Policy
from llm.route import default_route, parse_route
from qa import chaos

#: The route when none is configured or named: two targets that restart, one that continues.
EXAMPLE = ("groq/openai/gpt-oss-120b", "gemini/gemini-3.5-flash-lite", "groq/qwen/qwen3.8-27b")


@contextlib.contextmanager
def _failures_not_logged() -> Iterator[None]:
    """Keep the expected failures out of the log."""
    logger = logging.getLogger("llm.routing")
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True


class Command(BaseCommand):
    help = "Run a route against a fake provider through every fault; no real provider is called."
    requires_system_checks = ["llm"]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--route", default="", help="comma-separated targets (the default route)")
        parser.add_argument("--json", action="store_true", help="print the results as JSON")
        parser.add_argument(
            "--scale", type=float, default=0.1, help="factor for all times, 1 being real time (0.1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = [name for name in options["route"].split(",") if name.strip()]
        try:
            route = parse_route(names) if names else default_route() or parse_route(EXAMPLE)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if not 0.01 <= options["scale"] <= 1:
            raise CommandError("--scale is from 0.01 to 1.")
        with _failures_not_logged():
            results = chaos.run(route, Policy.from_settings().scaled(options["scale"]))
        if options["json"]:
            data = [asdict(result) | {"passed": result.passed} for result in results]
            self.stdout.write(json.dumps(data, indent=2))
        else:
            self._print([str(target) for target in route], results)
        if failed := [result.scenario for result in results if not result.passed]:
            raise CommandError(f"{len(failed)} of {len(results)} failed: {', '.join(failed)}.")

    def _print(self, route: list[str], results: list[chaos.Result]) -> None:
        self.stdout.write("  ".join(f"{number}: {target}" for number, target in enumerate(route, 1)))
        self.stdout.write(f"{'':<5} {'fault of target 1':<38} {'client got':<36} {'s':>5}  attempts")
        for result in results:
            status = "-" if result.skipped else "pass" if result.passed else "FAIL"
            outcome = result.skipped or result.outcome
            seconds = "" if result.skipped else f"{result.seconds:.2f}"
            line = f"{status:<5} {result.scenario:<38} {outcome:<36} {seconds:>5}  {result.receipt}"
            self.stdout.write(line.rstrip())
            for problem in result.problems:
                self.stdout.write(f"      ! {problem}")
