"""Analytics equal the reference implementation, counted from messages and read from roll-ups."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import pytest

from chat.tests.analytics_client import check, read
from qa.testing.traffic import Traffic

pytestmark = pytest.mark.django_db


ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham"]
"""Offsets in full hours, half hours and quarter hours; both hemispheres."""

# Clocks change in Berlin on 29 March and 25 October, in Newfoundland on 8 March, on Chatham on 5 April.
SPANS = {
    "hour": ("2026-03-27T11:07:03.123Z", "2026-04-06T01:00:00Z"),
    "day": ("2026-02-20T23:10:00.001Z", "2026-04-20T13:07:00Z"),
    "week": ("2025-12-29T00:00:00Z", "2026-04-27T00:00:00Z"),
    "month": ("2025-10-15T00:00:00Z", "2026-05-01T00:00:00Z"),
}


#: Each interval and each zone at least once; `make prove` tests all pairs.
SAMPLE = {(list(SPANS)[number % len(SPANS)], zone) for number, zone in enumerate(ZONES)}


@pytest.mark.parametrize(
    ("interval", "zone"),
    [
        pytest.param(*pair, marks=[] if pair in SAMPLE else pytest.mark.proof)
        for pair in product(SPANS, ZONES)
    ],
)
def test_all_metrics_equal_a_recount(site, acme, interval, zone):
    start, end = (datetime.fromisoformat(text) for text in SPANS[interval])
    day = timedelta(days=1)
    seed = ZONES.index(zone) * 10 + list(SPANS).index(interval)
    Traffic(acme.pk, start - day, end + day, seed).turns(400, running=0.02).stored()
    query = {"from": SPANS[interval][0], "to": SPANS[interval][1], "interval": interval, "tz": zone}
    counted = read(site, acme, **query)
    check(counted, acme)
    assert read(site, acme, **query) == counted
