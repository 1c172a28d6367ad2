"""Analytics of a year with a million messages: time, and equality with a plain recount.

    python qa/bench/analytics.py [--messages 1000000] [--zone Europe/Berlin]

Builds the messages in a scratch database on a mongod of its own, takes one year by day cold (nothing
rolled up) and then warm, and counts the same in plain Python over all messages. Everything is timed
in the same run; times are of the whole HTTP request, without the network.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

YEAR = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
WARM_REQUESTS = 20
TURNS_AT_ONCE = 5000


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder:
        _start_django(Path(folder))
        from core.mongo import embedded

        try:
            _run(options)
        finally:
            embedded.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--zone", default="UTC")
    parser.add_argument("--people", type=int, default=2000, help="users, and as many visitors")
    return parser.parse_args()


def _start_django(folder: Path) -> None:
    import django

    os.environ |= {"DJANGO_ENV": "test", "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING"}
    os.environ |= {"VAR_DIR": str(folder), "MONGODB_URI": ""}
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _run(options: argparse.Namespace) -> None:
    from chat.tests.reference_analytics import comparable, recount

    tenant, key = _tenant()
    _timed(f"storing {options.messages:,} messages", lambda: _fill(tenant.pk, options))
    asked = {"from": "2025-01-01", "to": "2026-01-01", "interval": "day", "tz": options.zone}
    _ask(tenant, key, {**asked, "to": "2025-01-02"})  # The first request of a process loads much.
    _forget_rollups()
    _timed("a year by day, nothing rolled up", lambda: _ask(tenant, key, asked))
    _warm(f"a year by day in {options.zone}", lambda: _ask(tenant, key, asked))
    month = {**asked, "interval": "month"}
    _warm("a year by month", lambda: _ask(tenant, key, month))
    hours = {**asked, "from": "2025-03-01", "to": "2025-04-01", "interval": "hour"}
    _warm("a month by hour", lambda: _ask(tenant, key, hours))
    elsewhere = {**asked, "tz": "Asia/Kolkata"}
    _timed("a year by day in another zone, first", lambda: _ask(tenant, key, elsewhere))
    _warm("a year by day in another zone", lambda: _ask(tenant, key, elsewhere))
    answer = _ask(tenant, key, asked).json()
    start, end = (datetime.fromisoformat(answer[name]) for name in ("from", "to"))
    zone = ZoneInfo(options.zone)
    totals, parts = _timed(
        "plain recount in Python",
        lambda: recount(*_everything(tenant.pk), start=start, end=end, interval="day", zone=zone),
    )
    days = {datetime.fromisoformat(day["start"]).astimezone(zone).date(): day for day in answer["series"]}
    equal = comparable(answer["totals"]) == totals and all(
        comparable(days[name]) == part for name, part in parts.items()
    )
    print(f"totals and {len(parts)} days equal the recount: {'yes' if equal else 'NO'}")
    if not equal:
        sys.exit(1)


def _tenant() -> tuple[Any, str]:
    from accounts.models import User
    from tenants.models import ApiKey, Plan, Tenant

    user = User.objects.create_user("bench@example.org", "an unguessable password")
    tenant = Tenant.objects.create(name="Bench", slug="bench", plan=Plan.objects.get(code="enterprise"))
    issued = ApiKey.objects.generate(
        tenant, created_by=user, name="bench", kind="sk", environment="live", scopes=["analytics:read"]
    )
    return tenant, issued.secret


def _fill(tenant_id: Any, options: argparse.Namespace) -> None:
    from chat.tests.traffic import Traffic

    traffic = Traffic(tenant_id, *YEAR, seed=1, people=options.people)
    for _ in range(options.messages // 2 // TURNS_AT_ONCE):
        traffic.turns(TURNS_AT_ONCE).stored()
        traffic.sessions, traffic.messages = [], []


def _ask(tenant: Any, key: str, asked: dict[str, str]) -> Any:
    from rest_framework.test import APIClient

    path = f"/api/chat/tenants/{tenant.pk}/analytics"
    response = APIClient().get(path, asked, headers={"X-API-Key": key})
    if response.status_code != 200:
        sys.exit(f"{path}: {response.status_code} {response.content.decode()}")
    return response


def _forget_rollups() -> None:
    from chat.analytics.models import Rollup, RollupCoverage

    Rollup.collection().delete_many({})
    RollupCoverage.collection().delete_many({})


def _everything(tenant_id: Any) -> tuple[Any, Any]:
    from chat.models import ChatSession, Message

    of_tenant = {"tenant_id": tenant_id}
    return ChatSession.collection().find(of_tenant), Message.collection().find(of_tenant)


def _timed(what: str, do: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = do()
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return result


def _warm(what: str, do: Callable[[], Any]) -> None:
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
