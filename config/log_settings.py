"""Django's LOGGING: one stream, in the formats of `core.logs`."""

from __future__ import annotations

import sys
from typing import Any


def logging_of(level: str, log_format: str) -> dict[str, Any]:
    """Return the settings for our own loggers at `level`, and for all others at WARNING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "core.logs.JSONFormatter"},
            "console": {"()": "core.logs.ConsoleFormatter"},
        },
        "filters": {
            "only_tracebacks": {"()": "core.logs.OnlyTracebacks"},
            "refused_requests": {"()": "core.logs.RefusedRequests"},
        },
        "handlers": {
            "stream": {
                "class": "logging.StreamHandler",
                "stream": sys.stderr,
                "formatter": log_format,
                "filters": ["refused_requests"],
            }
        },
        "root": {"handlers": ["stream"], "level": "WARNING"},
        "loggers": {
            "django.request": {"filters": ["only_tracebacks"]},
            **{
                name: {"level": level}
                for name in ("config", "core", "console", "accounts", "tenants", "chat", "llm", "qa")
            },
        },
    }
