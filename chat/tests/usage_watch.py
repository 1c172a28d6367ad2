"""Continuous checks that no tenant's usage exceeds a limit at any instant."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from bson import Decimal128
from pymongo.database import Database

COUNTERS = ("messages", "tokens", "cost")


class UsageWatch:
    """Samples the usage of all tenants until the block ends. `limits` are those of their plan.

    The usage of a tenant is one document, so each sample is of one instant.
    """

    def __init__(self, database: Database, limits: Mapping[str, Any]) -> None:
        self._database = database
        self._limits = limits
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples = 0
        self.violations: list[str] = []

    def __enter__(self) -> UsageWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            for usage in self._database.tenants_usage.find():
                self.samples += 1
                self.violations += [f"{usage['_id']}: {violation}" for violation in self._violations(usage)]

    def _violations(self, usage: dict[str, Any]) -> Iterator[str]:
        held = usage["reservations"].values()
        if usage["live"] != len(held):
            yield f"{usage['live']} turns are counted, {len(held)} hold a reservation"
        ended = sum(bool(reservation.get("ended")) for reservation in held)
        if usage["ended"] != ended:
            yield f"{usage['ended']} turns count as ended, {ended} reservations do"
        yield from self._over_limit("concurrent_turns", usage["live"] - usage["ended"])
        yield from self._over_limit("requests_per_minute", usage["minute_count"])
        for month, counted in usage["months"].items():
            used, reserved = amounts(counted), amounts(counted, "reserved_")
            of_month = [reservation for reservation in held if reservation["month"] == month]
            sums = {
                "messages": len(of_month),
                "tokens": sum(reservation["tokens"] for reservation in of_month),
                "cost": sum((number(reservation["cost"]) for reservation in of_month), Decimal(0)),
            }
            if sums != reserved:
                yield f"{reserved} are reserved, the reservations of {month} hold {sums}"
            for counter in COUNTERS:
                yield from self._over_limit(f"{counter}_per_month", used[counter] + reserved[counter])

    def _over_limit(self, name: str, taken: Any) -> Iterator[str]:
        limit = self._limits[name]
        if limit is not None and taken > limit:
            yield f"{taken} of {limit} {name}"


def is_anything_open(database: Database) -> bool:
    """Return whether a reply is running or not settled, or a reservation exists."""
    return bool(
        database.chat_message.find_one({"$or": [{"status": "streaming"}, {"settled": False}]})
        or database.tenants_usage.find_one({"live": {"$ne": 0}})
    )


def amounts(month: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return messages, tokens and cost of a stored month."""
    return {counter: number(month[prefix + counter]) for counter in COUNTERS}


def number(value: Any) -> Any:
    return value.to_decimal() if isinstance(value, Decimal128) else value
