"""While one caller does its worst, another is served as before, and monitoring sees a live server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from django.conf import settings

from qa.hostile.attacks import ATTACKS, Caller
from qa.testing.server import RunningServer
from qa.testing.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT_SECONDS = 1.0
LONG_SECONDS = 6.0

#: Of the long form. The load itself takes one of two cores.
MAX_P95_SECONDS = 0.2
MAX_P95_RATIO = 2.0
#: Longer than any request that is not made to wait for the attacker's.
MAX_SECONDS = 5.0


class Victim:
    """A caller that sends one message after the other, and asks for health between them."""

    def __init__(self, product: RunningServer, caller: Caller) -> None:
        self._url = product.url
        self._http = requests.Session()
        self._headers = {"X-API-Key": caller.key}

    def send(self) -> float:
        """Return the seconds that one message took."""
        return self._timed(
            lambda: self._http.post(
                f"{self._url}/api/chat", json={"message": "Hello"}, headers=self._headers, timeout=MAX_SECONDS
            )
        )

    def probe(self) -> float:
        return self._timed(lambda: self._http.get(f"{self._url}/health", timeout=MAX_SECONDS))

    def _timed(self, call: Callable[[], requests.Response]) -> float:
        began = time.perf_counter()
        response = call()
        assert response.status_code == 200, response.text
        return time.perf_counter() - began


@contextmanager
def attacked(product: RunningServer, caller: Caller, name: str, seconds: float) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "qa.hostile.attacks", product.url, *caller, name, str(seconds)]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.mark.parametrize("name", ATTACKS)
def test_another_caller_is_served_while_one_does_its_worst(name, product, victim, attacker):
    caller = Victim(product, victim)
    with attacked(product, attacker, name, SHORT_SECONDS) as attack:
        while attack.poll() is None:
            caller.send()
            caller.probe()
        statuses = json.loads(attack.communicate(timeout=PATIENCE_SECONDS)[0])
    assert not [status for status in statuses if status.startswith("5") and status != "503"], statuses
    assert any(status.isdecimal() for status in statuses), statuses


@pytest.mark.proof
@pytest.mark.parametrize("name", ATTACKS)
def test_the_times_of_another_caller_stay_within_bounds(name, product, victim, attacker):
    caller = Victim(product, victim)
    alone = p95([caller.send() for _ in range(40)])
    times, probes = [], []
    with attacked(product, attacker, name, LONG_SECONDS) as attack:
        while attack.poll() is None:
            times.append(caller.send())
            probes.append(caller.probe())
        statuses = attack.communicate(timeout=PATIENCE_SECONDS)[0]
    print(
        f"\n{name}: alone {alone * 1000:.0f} ms, attacked {p95(times) * 1000:.0f} ms, "
        f"/health {p95(probes) * 1000:.0f} ms, {statuses}"
    )
    assert p95(times) <= max(MAX_P95_SECONDS, MAX_P95_RATIO * alone)
    assert p95(probes) <= MAX_P95_SECONDS


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]
