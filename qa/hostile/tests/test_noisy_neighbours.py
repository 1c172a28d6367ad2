"""While one caller does its worst, another is served as before, and monitoring sees a live server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings

from qa.hostile.attacks import ATTACKS, Caller
from qa.hostile.measure import Neighbour, p95_alone
from qa.testing.server import RunningServer
from qa.testing.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT_SECONDS = 0.5
LONG_SECONDS = 20.0


@contextmanager
def attacked(product: RunningServer, caller: Caller, name: str, seconds: float) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "qa.hostile.attacks", product.url, *caller, name, str(seconds)]
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.mark.parametrize("name", ATTACKS)
def test_another_caller_is_served_while_one_does_its_worst(name, product, victim, attacker):
    neighbour = Neighbour(product.url, victim)
    with attacked(product, attacker, name, SHORT_SECONDS) as attack:
        while attack.poll() is None:
            neighbour.use()
        statuses = json.loads(attack.communicate(timeout=PATIENCE_SECONDS)[0])
    assert not [status for status in statuses if status.startswith("5") and status != "503"], statuses
    assert any(status.isdecimal() for status in statuses), statuses


@pytest.mark.proof
@pytest.mark.parametrize("name", ATTACKS)
def test_the_times_of_another_caller_stay_within_bounds(name, product, victim, attacker):
    alone = p95_alone(product.url, victim)
    neighbour = Neighbour(product.url, victim)
    with attacked(product, attacker, name, LONG_SECONDS) as attack:
        while attack.poll() is None:
            neighbour.use()
        statuses = attack.communicate(timeout=PATIENCE_SECONDS)[0]
    print(f"\n{name}: {neighbour.report(alone)}, {statuses.strip()}")
    assert neighbour.is_undisturbed(alone), neighbour.report(alone)
