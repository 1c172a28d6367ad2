"""Prometheus metrics of this worker process, and the few lines that feed them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

registry = CollectorRegistry()

_requests = Counter("http_requests", "Requests served", ["method", "route", "status"], registry=registry)
_seconds = Histogram(
    "http_request_seconds",
    "Seconds from the request to the last byte of its answer",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=registry,
)
running_turns = Gauge("chat_running_turns", "Turns this worker is driving", registry=registry)
replies = Counter("chat_replies", "Replies by final state", ["status"], registry=registry)
attempts = Counter("llm_attempts", "Calls to providers", ["provider", "outcome"], registry=registry)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """`route` is the URL pattern, never the path: ids would make endless series."""
    _requests.labels(method, route, status).inc()
    _seconds.labels(route).observe(seconds)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry)
