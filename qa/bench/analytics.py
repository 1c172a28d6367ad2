"""Analytics of a year with a million messages: time, and equality with a recount in Python.

    python -m qa.bench.analytics [--messages 1000000] [--zone Europe/Berlin]

Stores the messages in a temporary MongoDB of its own, requests one year by day cold (nothing rolled up)
and then warm, and recounts the same in Python over all messages. Everything is timed in the same run;
times are of the whole HTTP request, without the network.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from core.mongo import embedded
from qa.bench.environment import set_up_django
from qa.testing.reference_analytics import comparable

if TYPE_CHECKING:
    from qa.bench.year_of_messages import YearOfMessages

WARM_REQUESTS = 20

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--zone", default="UTC")
    parser.add_argument("--people", type=int, default=2000, help="users, and as many visitors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder:
        set_up_django(VAR_DIR=folder, MONGODB_URI="", LOG_LEVEL="WARNING")
        try:
            run(options.messages, options.people, ZoneInfo(options.zone))
        finally:
            embedded.stop()


def run(messages: int, people: int, zone: ZoneInfo) -> None:
    from django.core.management import call_command

    from qa.bench.year_of_messages import YearOfMessages  # Models need a Django that is set up.

    call_command("migrate", verbosity=0)
    year = YearOfMessages.create()
    timed(f"storing {messages:,} messages", lambda: year.store(messages, people))
    measure(year, zone)
    if not equals_recount(year, zone):
        sys.exit(1)


def by_day(zone: ZoneInfo) -> dict[str, str]:
    return {"from": "2025-01-01", "to": "2026-01-01", "interval": "day", "tz": str(zone)}


def measure(year: YearOfMessages, zone: ZoneInfo) -> None:
    days = by_day(zone)
    year.analytics({**days, "to": "2025-01-02"})  # The first request of a process loads many modules.
    year.delete_rollups()
    timed("a year by day, nothing rolled up", lambda: year.analytics(days))
    timed_warm(f"a year by day in {zone}", lambda: year.analytics(days))
    months = {**days, "interval": "month"}
    timed_warm("a year by month", lambda: year.analytics(months))
    hours = {**days, "from": "2025-03-01", "to": "2025-04-01", "interval": "hour"}
    timed_warm("a month by hour", lambda: year.analytics(hours))
    elsewhere = {**days, "tz": "Asia/Kolkata"}
    timed("a year by day in another zone, first", lambda: year.analytics(elsewhere))
    timed_warm("a year by day in another zone", lambda: year.analytics(elsewhere))


def equals_recount(year: YearOfMessages, zone: ZoneInfo) -> bool:
    answer = year.analytics(by_day(zone))
    start, end = (datetime.fromisoformat(answer[name]) for name in ("from", "to"))
    totals, days = timed("recount in Python", lambda: year.recount(start, end, zone))
    answered = {datetime.fromisoformat(day["start"]).astimezone(zone).date(): day for day in answer["series"]}
    equal = comparable(answer["totals"]) == totals and all(
        comparable(answered[date]) == day for date, day in days.items()
    )
    print(f"totals and {len(days)} days equal the recount: {'yes' if equal else 'NO'}")
    return equal


def timed(what: str, do: Callable[[], Result]) -> Result:
    began = time.perf_counter()
    result = do()
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return result


def timed_warm(what: str, do: Callable[[], object]) -> None:
    times, cpu = [], []
    for _ in range(WARM_REQUESTS):
        gc.collect()
        began, worked = time.perf_counter(), time.process_time()
        do()
        times.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - worked) * 1000)
    print(
        f"{what}, rolled up: median {statistics.median(times):.0f} ms, "
        f"slowest of {WARM_REQUESTS} {max(times):.0f} ms; CPU {statistics.median(cpu):.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()
