"""Eight processes request turns at the same time, and exactly the limit is admitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from qa.testing.tenants import limited
from tenants.models import LedgerEntry, Usage

pytestmark = pytest.mark.slow

PROCESSES = 8
#: In the future: leases that have expired are ended by servers of other tests.
NOON = datetime(2100, 11, 22, 12, 0, 10, tzinfo=UTC)


class LoadGenerators:
    """Eight processes that run the same load at the same time."""

    def __init__(self, mongodb_uri: str) -> None:
        environment = {**os.environ, "MONGODB_URI": mongodb_uri, "DJANGO_SETTINGS_MODULE": "config.settings"}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tenants.billing.tests.load_generator"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(PROCESSES)
        ]
        assert self._results() == ["up"] * PROCESSES

    def run(
        self, tenant, *, tries, seed=0, tokens=1, cost="0", endings=("keep",), extend=False, now=NOON
    ) -> list[int]:
        """Return the number of admitted turns of each process.

        With `extend` each admits one turn, and its further tries extend it.
        """
        for number, process in enumerate(self._processes):
            load = {
                "tenant": str(tenant.pk),
                "tries": tries,
                "seed": seed * PROCESSES + number,
                "tokens": tokens,
                "cost": cost,
                "endings": endings,
                "extend": extend,
                "now": now.isoformat(),
            }
            self._write(process, json.dumps(load))
        assert self._results() == ["ready"] * PROCESSES
        for process in self._processes:
            self._write(process, "go")
        return self._results()

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def _write(self, process: subprocess.Popen, line: str) -> None:
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _results(self) -> list:
        return [json.loads(process.stdout.readline()) for process in self._processes]


@pytest.fixture(scope="module")
def load_generators(database_uri) -> Iterator[LoadGenerators]:
    load_generators = LoadGenerators(database_uri)
    yield load_generators
    load_generators.stop()


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_requests_of_a_minute_are_admitted(load_generators, acme, seed):
    limited(acme, requests_per_minute=37 + seed)

    admitted = load_generators.run(acme, tries=12, seed=seed, endings=("keep", "settle", "release"))

    assert sum(admitted) == 37 + seed


def test_exactly_the_concurrent_turns_are_admitted(load_generators, acme):
    limited(acme, concurrent_turns=5)

    assert sum(load_generators.run(acme, tries=3)) == 5
    assert sum(load_generators.run(acme, tries=1)) == 0


def test_exactly_the_quota_is_admitted_and_nothing_is_lost(load_generators, acme):
    limited(acme, messages_per_month=40, tokens_per_month=40 * 7, cost_per_month=Decimal("4"))

    assert sum(load_generators.run(acme, tries=10, tokens=7, cost="0.1", endings=("keep", "settle"))) == 40

    by_name = {limit.name: limit for limit in Usage.objects.of(acme).limit_usages(NOON)}
    assert by_name["messages_per_month"].remaining == 0
    assert by_name["tokens_per_month"].remaining == 0
    assert by_name["cost_per_month"].remaining == 0


@pytest.mark.parametrize(
    "limit", [{"tokens_per_month": 50 * 7 + 6}, {"cost_per_month": Decimal("5.0999999999")}]
)
def test_exactly_what_the_month_has_room_for_is_added_to_reservations(load_generators, acme, limit):
    limited(acme, **limit)

    admitted = load_generators.run(acme, tries=15, tokens=7, cost="0.1", extend=True)

    assert sum(admitted) == 50
    usage = Usage.objects.of(acme)
    # A process that begins when the others have reserved everything has no turn.
    assert usage.live == len(usage.reservations) == sum(map(bool, admitted))
    assert sum(held["tokens"] for held in usage.reservations.values()) == 50 * 7
    assert [drift for drift in LedgerEntry.objects.drift() if drift.tenant_id == acme.pk] == []


def test_used_and_reserved_never_exceed_the_limit_while_turns_start_and_end(load_generators, acme):
    limited(acme, messages_per_month=150, tokens_per_month=150 * 3, concurrent_turns=6)
    exceeded, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            limits = Usage.objects.of(acme).limit_usages(NOON)
            exceeded.extend(limit for limit in limits if not limit.has_room_for(0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        load_generators.run(acme, tries=40, tokens=3, endings=("settle", "release"))
    finally:
        done.set()
        watcher.join()

    assert exceeded == []
    by_name = {limit.name: limit for limit in Usage.objects.of(acme).limit_usages(NOON)}
    assert by_name["messages_per_month"].reserved == by_name["tokens_per_month"].reserved == 0
    assert by_name["concurrent_turns"].used == 0
    assert by_name["tokens_per_month"].used == 3 * by_name["messages_per_month"].used


def test_reserved_counters_equal_the_reservations_after_a_race(load_generators, acme):
    limited(acme)

    load_generators.run(acme, tries=20, tokens=11, cost="0.0123456789", endings=("keep", "release"))

    drifted = [drift.counter for drift in LedgerEntry.objects.drift()]
    assert drifted == []
