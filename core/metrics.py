"""Prometheus metrics of this worker process. Apps register theirs in `registry`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

registry = CollectorRegistry()

#: A label's values come from a fixed set, never from a request: each pair is a series that is kept for good.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OTHER_METHOD = "other"

_requests = Counter("http_requests", "Requests served", ["method", "route", "status"], registry=registry)
_seconds = Histogram(
    "http_request_seconds",
    "Seconds from the request to the last byte of its answer",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=registry,
)

#: Requests that the server refused before the application saw them, by the code of the problem.
refused_requests = Counter("http_requests_refused", "Requests refused unread", ["code"], registry=registry)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request. `route` is the URL pattern, never the path: every id would be a new series."""
    _requests.labels(method if method in _METHODS else _OTHER_METHOD, route, status).inc()
    _seconds.labels(route).observe(seconds)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(registry)
