"""Put every route, caller and id to the test, in a database of its own."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from qa.isolation import mutation, probes, timing
from qa.isolation.cases import routes
from qa.isolation.exempt import ONLY_IN_COMMANDS, WITHOUT_EFFECT
from qa.isolation.matrix import Matrix, Report, judge_route
from qa.isolation.scopes import Scope, find_scopes
from qa.isolation.scratch import database, furnished
from qa.isolation.table import ROUTES


class Command(BaseCommand):
    help = (
        "Check who may do what, on a scratch database of the configured server, which is made and dropped. "
        "Exit code 1 on any failure."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--route",
            action="append",
            help="only the cells of routes that contain this text, and no probes; repeatable",
        )
        parser.add_argument(
            "--pairs", type=int, default=60, help="how often each two ids are compared in time; 0: not at all"
        )
        parser.add_argument(
            "--mutations",
            nargs="?",
            const="",
            metavar="TEXT",
            help="also drop each scope of the code that contains TEXT, one at a time; without TEXT all",
        )

    def handle(self, *, route: list[str] | None, pairs: int, mutations: str | None, **options: Any) -> None:
        self._refuse_unstated_routes()
        self.began = time.monotonic()
        wanted = [name for name in ROUTES if not route or any(part in name for part in route)]
        if not wanted:
            raise CommandError(f"No route contains {' or '.join(route)}.")
        looks = [] if route else list(probes.PROBES)
        found = [] if mutations is None else [scope for scope in find_scopes() if mutations in scope.name]
        if mutations and not found:
            raise CommandError(f"No scope contains {mutations}.")
        with database() as name, furnished() as matrix:
            self.stdout.write(f"In the scratch database {name}, which is dropped at the end.\n\n")
            failures = self._cells(matrix, wanted)
            failures += self._probes(matrix, looks)
            if pairs:
                self._times(matrix, pairs)
            if found and failures:
                self.stdout.write("\nNo scope is dropped while something fails without that.")
            elif found:
                failures += self._mutations(matrix, found, looks, wanted)
        seconds = f"{time.monotonic() - self.began:.0f} seconds"
        if failures:
            raise CommandError("\n".join([f"{len(failures)} failures, after {seconds}:", *failures]))
        self.stdout.write(f"\nNothing failed. {seconds}.")

    def _refuse_unstated_routes(self) -> None:
        found = set(routes())
        if unstated := sorted(found - ROUTES.keys()):
            raise CommandError(f"Routes without a row in qa/isolation/table.py: {', '.join(unstated)}")
        if gone := sorted(ROUTES.keys() - found):
            raise CommandError(f"Rows of qa/isolation/table.py without a route: {', '.join(gone)}")

    def _cells(self, matrix: Matrix, wanted: list[str]) -> list[str]:
        total = Report()
        self.stdout.write(f"{'cells':>6} {'failed':>6}  route")
        for route in wanted:
            report = judge_route(matrix, route)
            self.stdout.write(f"{report.cells.total():>6} {len(report.failures):>6}  {route}")
            total += report
        self.stdout.write(f"{total.cells.total():>6} {len(total.failures):>6}  all\n\n{'cells':>6}  caller")
        for caller, count in total.cells.most_common():
            self.stdout.write(f"{count:>6}  {caller}")
        return total.failures

    def _probes(self, matrix: Matrix, looks: list[str]) -> list[str]:
        failures = [wrong for name in looks for wrong in probes.run(matrix, name)]
        self.stdout.write(f"\n{len(looks)} probes, {len(failures)} failures")
        return failures

    def _times(self, matrix: Matrix, pairs: int) -> None:
        """Report only: what a loaded machine does to times is no fault of the product."""
        self.stdout.write(f"\nMedian ms of {pairs} answers each, and whether they are told apart:")
        self.stdout.write("foreign missing  longer by       p")
        told_apart = 0
        for each in timing.timings(matrix, pairs):
            told_apart += each.is_told_apart
            self.stdout.write(
                f"{each.foreign_ms:7.2f} {each.missing_ms:7.2f} {each.share:9.1%} {each.p_value:8.4f}"
                f"  {each.what}{'  TOLD APART' if each.is_told_apart else ''}"
            )
        self.stdout.write(
            f"{told_apart or 'No'} foreign ids are told from missing ones by time (sign test, error rate "
            f"{timing.ERROR_RATE:.0%} in all; differences below {timing.TOLERATED_SHARE:.0%} don't count)."
        )

    def _mutations(
        self, matrix: Matrix, found: list[Scope], looks: list[str], wanted: list[str]
    ) -> list[str]:
        self.stdout.write(f"\nDropping {len(found)} scopes, one at a time:")
        narrow = [name for name in looks if name in mutation.NARROW_PROBES]
        reach = mutation.find_reach(matrix, found, names=narrow, routes=wanted)
        if reach.failures:
            return reach.failures
        survivors = []
        for scope in found:
            missed = mutation.caught(matrix, scope, reach)
            self.stdout.write(f"{'missed' if missed else 'SURVIVES'}  {scope.module}:{scope.line} {scope}")
            if missed is None:
                survivors.append(scope)
        number, caught = len(found), len(found) - len(survivors)
        self.stdout.write(
            f"\nMutation score: {100 * caught / number:.0f} %: of {number} scopes {caught} are missed when"
            f" they are dropped.\nExempt, with reasons in qa/isolation/exempt.py: {len(WITHOUT_EFFECT)}"
            f" scopes without effect, and what only commands run, in {len(ONLY_IN_COMMANDS)} places."
        )
        return [f"nobody misses {scope.module}:{scope.line} {scope}" for scope in survivors]
