"""Checks who may do what: every route, caller and id, in a temporary database."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from qa.isolation import mutation, probes, timing
from qa.isolation.cases import routes
from qa.isolation.environment import prepared_matrix, temporary_database
from qa.isolation.exemptions import COMMANDS_ONLY, WITHOUT_EFFECT
from qa.isolation.matrix import Matrix, Report, check_route
from qa.isolation.scopes import Scope, find_scopes
from qa.isolation.table import ROUTES


class Command(BaseCommand):
    help = (
        "Check who may do what, in a temporary database on the configured server, which is created and "
        "dropped. Exit code 1 on any failure."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--route",
            action="append",
            help="only the cases of routes that contain this text, and no probes; repeatable",
        )
        parser.add_argument(
            "--pairs", type=int, default=60, help="how many pairs of times each comparison has; 0: no times"
        )
        parser.add_argument(
            "--mutations",
            nargs="?",
            const="",
            metavar="TEXT",
            help="also drop each scope of the code that contains TEXT, one at a time; without TEXT all",
        )

    def handle(self, *, route: list[str] | None, pairs: int, mutations: str | None, **options: Any) -> None:
        self._compare_routes_with_table()
        began = time.monotonic()
        selected = [name for name in ROUTES if not route or any(part in name for part in route)]
        if not selected:
            raise CommandError(f"No route contains {' or '.join(route or [])}.")
        names = [] if route else list(probes.PROBES)
        found = [] if mutations is None else [scope for scope in find_scopes() if mutations in scope.name]
        if mutations and not found:
            raise CommandError(f"No scope contains {mutations}.")
        with temporary_database() as database, prepared_matrix() as matrix:
            self.stdout.write(f"In the temporary database {database}, which is dropped at the end.\n\n")
            failures = self._check_cases(matrix, selected)
            failures += self._run_probes(matrix, names)
            if pairs:
                self._report_times(matrix, pairs)
            if found and failures:
                self.stdout.write("\nNo scope is dropped, because something fails already.")
            elif found:
                failures += self._drop_scopes(matrix, found, names, selected)
        seconds = f"{time.monotonic() - began:.0f} seconds"
        if failures:
            raise CommandError("\n".join([f"{len(failures)} failures, after {seconds}:", *failures]))
        self.stdout.write(f"\nNo failures. {seconds}.")

    def _compare_routes_with_table(self) -> None:
        found = set(routes())
        if unlisted := sorted(found - ROUTES.keys()):
            raise CommandError(f"Routes without a row in qa/isolation/table.py: {', '.join(unlisted)}")
        if stale := sorted(ROUTES.keys() - found):
            raise CommandError(f"Rows of qa/isolation/table.py without a route: {', '.join(stale)}")

    def _check_cases(self, matrix: Matrix, selected: list[str]) -> list[str]:
        total = Report()
        self.stdout.write(f"{'cases':>6} {'failed':>6}  route")
        for route in selected:
            report = check_route(matrix, route)
            self.stdout.write(f"{report.cases.total():>6} {len(report.failures):>6}  {route}")
            total += report
        self.stdout.write(f"{total.cases.total():>6} {len(total.failures):>6}  all\n\n{'cases':>6}  caller")
        for caller, count in total.cases.most_common():
            self.stdout.write(f"{count:>6}  {caller}")
        return total.failures

    def _run_probes(self, matrix: Matrix, names: list[str]) -> list[str]:
        failures = [failure for name in names for failure in probes.run(matrix, name)]
        self.stdout.write(f"\n{len(names)} probes, {len(failures)} failures")
        return failures

    def _report_times(self, matrix: Matrix, pairs: int) -> None:
        """Report only: the load of the machine affects times, so they are no failures."""
        self.stdout.write(f"\nMedian ms of {pairs} answers each, and whether they are distinguishable:")
        self.stdout.write("foreign missing  longer by       p")
        distinguishable = 0
        for each in timing.timings(matrix, pairs):
            distinguishable += each.is_distinguishable
            self.stdout.write(
                f"{each.foreign_ms:7.2f} {each.missing_ms:7.2f} {each.share:9.1%} {each.p_value:8.4f}"
                f"  {each.what}{'  DISTINGUISHABLE' if each.is_distinguishable else ''}"
            )
        self.stdout.write(
            f"{distinguishable or 'No'} foreign ids are distinguishable from missing ones by time (sign "
            f"test, error rate {timing.ERROR_RATE:.0%} in all; differences below "
            f"{timing.TOLERATED_SHARE:.0%} are ignored)."
        )

    def _drop_scopes(
        self, matrix: Matrix, found: list[Scope], names: list[str], selected: list[str]
    ) -> list[str]:
        self.stdout.write(f"\nDropping {len(found)} scopes, one at a time:")
        narrow = [name for name in names if name in mutation.NARROW_PROBES]
        coverage = mutation.measure_coverage(matrix, found, names=narrow, routes=selected)
        if coverage.failures:
            return coverage.failures
        undetected = []
        for scope in found:
            failure = mutation.first_failure(matrix, scope, coverage)
            self.stdout.write(
                f"{'UNDETECTED' if failure is None else 'detected  '}  {scope.module}:{scope.line} {scope}"
            )
            if failure is None:
                undetected.append(scope)
        detected = len(found) - len(undetected)
        self.stdout.write(
            f"\nMutation score: {100 * detected / len(found):.0f} %: {detected} of {len(found)} scopes are "
            "detected when they are dropped.\nExempt, with reasons in qa/isolation/exemptions.py: "
            f"{len(WITHOUT_EFFECT)} scopes without effect, and code that only commands run, in "
            f"{len(COMMANDS_ONLY)} places."
        )
        return [f"no check fails without {scope.module}:{scope.line} {scope}" for scope in undetected]
