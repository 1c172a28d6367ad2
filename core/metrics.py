"""Prometheus metrics. Apps register theirs in `registry`.

Processes that share the folder PROMETHEUS_MULTIPROC_DIR, as `serve` sets it, show the sums of all of them:
workers and jobs of one machine, also of workers that have ended meanwhile. Other machines are scraped on
their own; Prometheus names each by the label `instance`.
"""

from __future__ import annotations

import os
import re

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

#: Read by prometheus_client when it is imported: https://prometheus.github.io/client_python/multiprocess/
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

registry = CollectorRegistry()

#: A label's values come from a fixed set, never from a request: each pair is a series that is kept for good.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OTHER = "other"
_CODE = re.compile(r"[a-z_]{1,40}")

_requests = Counter("http_requests", "Requests served", ["method", "route", "status"], registry=registry)
_seconds = Histogram(
    "http_request_seconds",
    "Seconds from the request to the last byte of its answer",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=registry,
)
_refusals = Counter(
    "http_refusals", "Requests answered with a problem, by its code", ["code"], registry=registry
)

#: Requests that the server refused before the application saw them, by the code of the problem.
refused_requests = Counter("http_requests_refused", "Requests refused unread", ["code"], registry=registry)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request. `route` is the URL pattern, never the path: every id would be a new series."""
    _requests.labels(method if method in _METHODS else _OTHER, route, status).inc()
    _seconds.labels(route).observe(seconds)


def count_refusal(code: str) -> None:
    """Count a request that got a problem. `code` is one of those in the source."""
    _refusals.labels(code if _CODE.fullmatch(code) else _OTHER).inc()


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, summed over the processes that share them."""
    if folder := os.environ.get(MULTIPROCESS_FOLDER):
        shared = CollectorRegistry()
        multiprocess.MultiProcessCollector(shared, folder)  # type: ignore[no-untyped-call]  # upstream's
        return generate_latest(shared)
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """Remove the gauges of a process that has ended; its counters stay in the sums."""
    if os.environ.get(MULTIPROCESS_FOLDER):
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]  # upstream's
