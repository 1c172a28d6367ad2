"""Analytics equal a plain recount, from messages and from roll-ups alike."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from chat.tests.analytics_client import ask, check
from qa.testing.traffic import Traffic

pytestmark = pytest.mark.django_db


ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"]
"""Whole hours, half hours, quarters, both hemispheres."""

# Clocks change in Berlin on 29 March and 25 October, in Newfoundland on 8 March, on Chatham on 5 April.
SPANS = {
    "hour": ("2026-03-27T11:07:03.123Z", "2026-04-06T01:00:00Z"),
    "day": ("2026-02-20T23:10:00.001Z", "2026-04-20T13:07:00Z"),
    "week": ("2025-12-29T00:00:00Z", "2026-04-27T00:00:00Z"),
    "month": ("2025-10-15T00:00:00Z", "2026-05-01T00:00:00Z"),
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", SPANS)
def test_every_figure_equals_a_recount(site, acme, interval, zone):
    start, end = (datetime.fromisoformat(text) for text in SPANS[interval])
    day = timedelta(days=1)
    seed = ZONES.index(zone) * 10 + list(SPANS).index(interval)
    Traffic(acme.pk, start - day, end + day, seed).turns(400, running=0.02).stored()
    asked = {"from": SPANS[interval][0], "to": SPANS[interval][1], "interval": interval, "tz": zone}
    cold = ask(site, acme, **asked)
    check(cold, acme)
    assert ask(site, acme, **asked) == cold
