"""Put a route through every fault of a provider and show what its clients get."""

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

#: Tried when nothing is configured and no route is named: two that restart, one that continues.
EXAMPLE = ("groq/openai/gpt-oss-120b", "gemini/gemini-3.5-flash-lite", "groq/qwen/qwen3.8-27b")


@contextlib.contextmanager
def _log_spared() -> Iterator[None]:
    """Keep the failures, all of them meant, out of the operator's log."""
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
        parser.add_argument("--route", default="", help="comma-separated targets; else the default route")
        parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
        parser.add_argument(
            "--scale", type=float, default=0.1, help="how long the clocks run, 1 being real time (0.1)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = [name for name in options["route"].split(",") if name.strip()]
        try:
            route = parse_route(names) if names else default_route() or parse_route(EXAMPLE)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if not 0.01 <= options["scale"] <= 1:
            raise CommandError("--scale is from 0.01 to 1.")
        with _log_spared():
            verdicts = chaos.run(route, Policy.from_settings().scaled(options["scale"]))
        if options["json"]:
            shown = [asdict(verdict) | {"passed": verdict.passed} for verdict in verdicts]
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            self._show([str(target) for target in route], verdicts)
        if failed := [verdict.trial for verdict in verdicts if not verdict.passed]:
            raise CommandError(f"{len(failed)} of {len(verdicts)} failed: {', '.join(failed)}.")

    def _show(self, route: list[str], verdicts: list[chaos.Verdict]) -> None:
        self.stdout.write("  ".join(f"{number}: {target}" for number, target in enumerate(route, 1)))
        self.stdout.write(f"{'':<5} {'fault of target 1':<38} {'client got':<36} {'s':>5}  attempts")
        for verdict in verdicts:
            mark = "-" if verdict.skipped else "pass" if verdict.passed else "FAIL"
            shown = verdict.skipped or verdict.got
            seconds = "" if verdict.skipped else f"{verdict.seconds:.2f}"
            line = f"{mark:<5} {verdict.trial:<38} {shown:<36} {seconds:>5}  {verdict.receipt}"
            self.stdout.write(line.rstrip())
            for problem in verdict.problems:
                self.stdout.write(f"      ! {problem}")
