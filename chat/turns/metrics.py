"""Prometheus metrics of turns and calls to providers."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from chat.turns.attempts import billed_tokens
from chat.turns.finished_run import FinishedRun
from core.metrics import registry

running_turns = Gauge(
    "chat_running_turns", "Turns being driven now", registry=registry, multiprocess_mode="livesum"
)
replies = Counter("chat_replies", "Replies by final state", ["status"], registry=registry)
_attempts = Counter("llm_attempts", "Calls to providers", ["provider", "outcome"], registry=registry)
_first_token = Histogram(
    "llm_first_token_seconds",
    "Seconds from a call to its first token",
    ["provider"],
    buckets=(0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60),
    registry=registry,
)
_tokens = Counter("llm_tokens", "Billed tokens", ["provider", "direction"], registry=registry)
_cost = Counter("llm_cost_usd", "Cost of calls in US dollars, where known", ["provider"], registry=registry)


def count_run(run: FinishedRun) -> None:
    """Count the calls of a run that has ended in this process, a turn's or one of `/v1`."""
    for attempt in run.attempts:
        provider = attempt["provider"]
        _attempts.labels(provider, attempt["outcome"]).inc()
        if (first_token_ms := attempt.get("first_token_ms")) is not None:
            _first_token.labels(provider).observe(first_token_ms / 1000)
        if billed_tokens(attempt):
            _tokens.labels(provider, "input").inc(attempt.get("input_tokens") or 0)
            _tokens.labels(provider, "output").inc(attempt.get("output_tokens") or 0)
        if attempt["cost"] is not None:
            _cost.labels(provider).inc(float(attempt["cost"]))
