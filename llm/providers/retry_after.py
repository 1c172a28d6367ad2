"""How long a provider asks us to wait, in all forms in use."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
#: No amount has more digits; without a bound a long text of digits would take quadratic time.
_AMOUNT = r"\d{1,9}(?:\.\d{0,9})?"
_GO_DURATION = re.compile(rf"(?:{_AMOUNT}(?:ms|us|µs|ns|d|h|m|s))+")
_GO_PART = re.compile(rf"({_AMOUNT})(ms|us|µs|ns|d|h|m|s)")
#: Groq: "Please try again in 4.77s", https://github.com/elizaOS/eliza/issues/4040 (2025-03).
#: Gemini: "Please retry in 36.429760048s.", https://github.com/diegosouzapw/OmniRoute/issues/9504 (2026-08).
_IN = (
    r"(?:retry|try again|available|wait|resets?|back)(?:\s+(?:again|in|after|for|at least|another|about))+\s+"
)
_RETRY_IN = re.compile(rf"{_IN}({_GO_DURATION.pattern})(?![a-z])", re.IGNORECASE)
_RETRY_IN_WORDS = re.compile(
    rf"{_IN}(\d{{1,9}}(?:\.\d{{1,9}})?) ?(milliseconds?|seconds?|secs?|minutes?|mins?|hours?|days?)\b",
    re.IGNORECASE,
)
_WORDS = {"mil": 0.001, "sec": 1.0, "min": 60.0, "hou": 3600.0, "day": 86400.0}

#: From this number on it is no duration but a time, in seconds or milliseconds since 1970.
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1.2e9, 1e11


def from_headers(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers of an error response ask for; None if they do not.

    Reads `retry-after-ms` (Azure OpenAI: https://github.com/openai/openai-python/issues/957, 2023-12),
    `Retry-After` and, when a limit is used up, the time until it resets: Groq
    (https://console.groq.com/docs/rate-limits, 2026-11), OpenRouter in milliseconds since 1970
    (https://github.com/Gitlawb/openclaude/issues/936, 2026-04), Anthropic as a date
    (https://docs.anthropic.com/en/api/rate-limits, 2026-11), `RateLimit-Reset`.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _finite(milliseconds / 1000)
    seconds = seconds_until(headers.get("Retry-After", ""))
    if seconds is not None:
        return seconds
    resets = [seconds_until(text) for text in _resets_of_limits_used_up(headers)]
    return max((reset for reset in resets if reset is not None), default=None)


def _resets_of_limits_used_up(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of `…ratelimit…reset…` whose `…remaining…` is 0 or absent."""
    for name, text in headers.items():
        lowered = name.lower()
        if "ratelimit" in lowered.replace("-", "") and "reset" in lowered:
            remaining = headers.get(lowered.replace("reset", "remaining"))
            if remaining is None or _number(remaining) == 0:
                yield text


def seconds_until(text: str) -> float | None:
    """Return the seconds until a time since 1970 or a date in ISO 8601; else those of `seconds_of`."""
    number = _number(text)
    if number is not None and math.isfinite(number) and number >= _EPOCH_SECONDS:
        at = number / 1000 if number >= _EPOCH_MILLISECONDS else number
        return _finite(at - time.time())
    with contextlib.suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text.strip())
        return _finite((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time())
    return seconds_of(text)


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
    """Return the seconds of "Please retry in 10h17m5.7s" or "Try again in 3 minutes" in a message."""
    if match := _RETRY_IN.search(message):
        return seconds_of(match[1])
    if match := _RETRY_IN_WORDS.search(message):
        return float(match[1]) * _WORDS[match[2][:3].lower()]
    return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _finite(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None
