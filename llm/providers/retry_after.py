"""How long a provider asks us to wait, in all forms in use."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
#: No amount has more digits; without a bound a long text of digits would take quadratic time.
_AMOUNT = r"\d{1,9}(?:\.\d{0,9})?"
_GO_DURATION = re.compile(rf"(?:{_AMOUNT}(?:ms|us|µs|ns|d|h|m|s))+")
_GO_PART = re.compile(rf"({_AMOUNT})(ms|us|µs|ns|d|h|m|s)")
#: Groq: "Please try again in 4.77s", https://github.com/elizaOS/eliza/issues/4040 (2025-03).
#: Gemini: "Please retry in 36.429760048s.", https://github.com/diegosouzapw/OmniRoute/issues/9504 (2026-08).
_RETRY_IN = re.compile(rf"(?:retry|try again)\s+(?:in|after)\s+({_GO_DURATION.pattern})", re.IGNORECASE)
_RETRY_IN_SECONDS = re.compile(
    r"(?:retry|try again)\s+(?:in|after)\s+(\d{1,9}(?:\.\d{1,9})?) ?sec", re.IGNORECASE
)


def from_headers(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers of an error response ask for; None if they do not.

    Reads `retry-after-ms` (Azure OpenAI: https://github.com/openai/openai-python/issues/957, 2023-12),
    `Retry-After` and, when Groq says that a limit is used up, the time until it resets
    (https://console.groq.com/docs/rate-limits, 2026-11).
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _finite(milliseconds / 1000)
    seconds = seconds_of(headers.get("Retry-After", ""))
    if seconds is not None:
        return seconds
    resets = [
        seconds_of(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{limit}", "")) == 0
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def seconds_of(text: str) -> float | None:
    """Return the seconds in a number, an HTTP date or a Go duration (`2m59.56s`).

    Times in the past and negative numbers are 0. None for anything else, infinity and NaN
    included.
    """
    text = text.strip()
    number = _number(text)
    if number is not None:
        return _finite(number)
    if _GO_DURATION.fullmatch(text):
        return _finite(sum(float(amount) * _UNITS[unit] for amount, unit in _GO_PART.findall(text)))
    try:
        return _finite(parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None


def from_message(message: str) -> float | None:
    """Return the seconds of "Please retry in 10h17m5.7s" or "Try again in 3 seconds" in a message."""
    match = _RETRY_IN.search(message) or _RETRY_IN_SECONDS.search(message)
    return seconds_of(match[1]) if match else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _finite(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None
