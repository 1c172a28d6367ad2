"""Put every route, caller and id to the test, in a database of its own."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.isolation import mutation, probes, timing
from config.isolation.cells import routes
from config.isolation.matrix import Matrix, Report, judge_route
from config.isolation.scopes import find_scopes
from config.isolation.scratch import database, furnished
from config.isolation.table import ROUTES


class Command(BaseCommand):
    help = (
        "Check who may do what, on a scratch database of the configured server. Exit code 1 on any failure."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--route", action="append", help="only routes that contain this text; repeatable")
        parser.add_argument(
            "--mutations", action="store_true", help="also drop each scope of the code, one at a time"
        )

    def handle(self, *, route: list[str] | None, mutations: bool, **options: Any) -> None:
        if missing := set(routes()) ^ set(ROUTES):
            raise CommandError(f"Routes and table differ: {', '.join(sorted(missing))}")
        wanted = [name for name in ROUTES if not route or any(part in name for part in route)]
        with database(), furnished() as matrix:
            failures = self._cells(matrix, wanted)
            failures += self._probes(matrix)
            self._times(matrix)
            failures += self._mutations(matrix) if mutations else []
        if failures:
            raise CommandError("\n".join([f"{len(failures)} failures:", *failures]))

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

    def _probes(self, matrix: Matrix) -> list[str]:
        failures = [wrong for name in probes.PROBES for wrong in probes.run(matrix, name)]
        self.stdout.write(f"\n{len(probes.PROBES)} probes, {len(failures)} failures")
        return failures

    def _times(self, matrix: Matrix) -> None:
        self.stdout.write("\nMedian of a 404, in ms:\nforeign missing ratio  route")
        for each in timing.timings(matrix):
            figures = f"{each.foreign_ms:7.2f} {each.missing_ms:7.2f} {each.ratio:5.2f}"
            self.stdout.write(f"{figures}  {each.cell.route}")

    def _mutations(self, matrix: Matrix) -> list[str]:
        found = find_scopes()
        reach = mutation.find_reach(matrix, found)
        survivors = [scope for scope in found if mutation.caught(matrix, scope, reach) is None]
        score = 100 * (len(found) - len(survivors)) / len(found)
        self.stdout.write(f"\nMutation score: {score:.0f} % of {len(found)} scopes")
        return [f"nobody misses {scope.module}:{scope.line} {scope}" for scope in survivors]
