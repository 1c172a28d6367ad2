"""The times of a caller that behaves, and of monitoring, while others do not."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import requests

from qa.hostile.attacks import Caller

#: Longer than any request that is not made to wait for an attacker's.
MAX_SECONDS = 5.0

#: The 95th percentile while attacked may be this, or so many times that of alone. The attack's own client
#: takes one of two processor cores.
MAX_P95_SECONDS = 0.2
MAX_P95_RATIO = 2.0


class Neighbour:
    """A caller that sends one message after the other. Every one of its requests succeeds."""

    def __init__(self, url: str, caller: Caller) -> None:
        self._url = url
        self._http = requests.Session()
        self._headers = {"X-API-Key": caller.key}
        self.messages: list[float] = []
        self.probes: list[float] = []

    def use(self) -> None:
        """Send a message and ask for health; remember the seconds that each took."""
        message = {"message": "Hello"}
        self.messages.append(
            self._timed(
                lambda: self._http.post(
                    f"{self._url}/api/chat", json=message, headers=self._headers, timeout=MAX_SECONDS
                )
            )
        )
        self.probes.append(self._timed(lambda: self._http.get(f"{self._url}/health", timeout=MAX_SECONDS)))

    def _timed(self, call: Callable[[], requests.Response]) -> float:
        began = time.perf_counter()
        response = call()
        assert response.status_code == 200, response.text  # noqa: S101 - used by tests alone
        return time.perf_counter() - began

    def report(self, alone: float) -> str:
        return (
            f"alone {alone * 1000:.0f} ms, attacked {p95(self.messages) * 1000:.0f} ms, "
            f"/health {p95(self.probes) * 1000:.0f} ms"
        )

    def is_undisturbed(self, alone: float) -> bool:
        """Whether its times are within bounds; `alone` is the 95th percentile without an attack."""
        return (
            p95(self.messages) <= max(MAX_P95_SECONDS, MAX_P95_RATIO * alone)
            and p95(self.probes) <= MAX_P95_SECONDS
        )


def p95_alone(url: str, caller: Caller) -> float:
    """Return the 95th percentile of the seconds that a message takes without an attack."""
    neighbour = Neighbour(url, caller)
    for _ in range(40):
        neighbour.use()
    return p95(neighbour.messages)


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]
