"""Prometheus metrics of turns and calls to providers, of this worker process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from core.metrics import registry

running_turns = Gauge("chat_running_turns", "Turns this worker is driving", registry=registry)
replies = Counter("chat_replies", "Replies by final state", ["status"], registry=registry)
attempts = Counter("llm_attempts", "Calls to providers", ["provider", "outcome"], registry=registry)
