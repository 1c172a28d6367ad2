"""Log formats: JSON in production, plain text in development, in both without secrets.

A line is printable text of bounded length, whatever a caller has sent: a line break, an escape sequence or a
character that reverses text can neither forge a line nor hide one.
"""

from __future__ import annotations

import contextvars
import functools
import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

#: Id of the request that this thread serves, "" outside of requests.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

#: Longer texts of callers and providers are cut: one request must not fill the log.
MAX_TEXT_CHARS = 2_000
MAX_TRACEBACK_CHARS = 20_000

#: Shapes of secrets: our API keys and tokens, the providers' keys, passwords in URLs. Each alternative
#: decides within a few characters, then takes all that it has read: the time is linear in the text.
_SECRETS = re.compile(
    r"""(?x)
    \b cap_(?:pk|sk)_(?:live|test)_ [0-9A-Za-z]{16,}
  | \b whsec_ [0-9A-Za-z+/=]{16,}
  | \b inv_ [\w-]{16,}
  | \b eyJ[\w-]{8,} (?:\.[\w-]*)*
  | \b (?:gsk_|sk-or-|sk-|AIza) [\w-]{12,}
  | (?<=[Bb]earer\ ) [^\s"',]+
  | (?<=://) [^/\s:@]+:[^/\s@]+ (?=@)
    """
)
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """Return `text` without what has the form of a secret or is the value of a configured one."""
    text = _SECRETS.sub("[redacted]", text)
    for secret in _configured_secrets():
        text = text.replace(secret, "[redacted]")
    return text


def _configured_secrets() -> list[str]:
    values = [
        settings.SECRET_KEY,
        settings.SIMPLE_JWT["SIGNING_KEY"],
        settings.JWT_REFRESH_SECRET,
        settings.API_KEY_PEPPER,
        *(provider["api_key"] for provider in settings.LLM_PROVIDERS.values()),
    ]
    # Shorter values would redact ordinary words.
    return [value for value in values if len(value) >= 8]


def escaped(text: str) -> str:
    """Return `text` with the characters that don't print written as in JSON: `\\n`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


@functools.lru_cache(4096)
def _escape(char: str) -> str:
    return json.dumps(char)[1:-1]


def shortened(text: str) -> str:
    """Return `text` of at most MAX_TEXT_CHARS, without secrets if it was longer: half of one has no form."""
    if len(text) <= MAX_TEXT_CHARS:
        return text
    text = redact(text)
    return (
        f"{text[:MAX_TEXT_CHARS]}… ({len(text) - MAX_TEXT_CHARS} more)"
        if len(text) > MAX_TEXT_CHARS
        else text
    )


class OnlyTracebacks(logging.Filter):
    """Passes only exceptions of Django's own request log; the rest is in ours, one line per request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class RefusedRequests(logging.Filter):
    """Makes warnings of what Django logs as errors with a traceback, though only the request is wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security.") and record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = record.exc_text = None
        return True


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the call's `extra` and the id of the current request."""
        extra = {name: _bounded(value) for name, value in vars(record).items() if name not in _STANDARD}
        if current := request_id.get():
            extra.setdefault("request_id", current)
        return extra

    def time(self, record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

    def formatException(self, ei: Any) -> str:
        """Return the traceback; of a long one the end, which names the exception, and the beginning."""
        text = redact(super().formatException(ei))
        half = MAX_TRACEBACK_CHARS // 2
        return text if len(text) <= MAX_TRACEBACK_CHARS else f"{text[:half]}\n…\n{text[-half:]}"


class JSONFormatter(_Formatter):
    """One JSON object per line: time, level, logger, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": shortened(record.getMessage()),
            **self.fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return escaped(redact(json.dumps(line, default=str, ensure_ascii=False)))


class ConsoleFormatter(_Formatter):
    """`time level event field=value …`, with the traceback below, indented.

    A value with spaces, quotes or `=` is a JSON string, so that it can't be read as several fields.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(
            f"{name}={_quoted(str(value))}" for name, value in self.fields(record).items() if value != ""
        )
        event = escaped(shortened(record.getMessage()))
        line = redact(f"{self.time(record)} {record.levelname.lower():7} {event} {fields}".rstrip())
        if record.exc_info:
            lines = self.formatException(record.exc_info).split("\n")
            line += "".join(f"\n    {escaped(text)}" for text in lines)
        return line


def _bounded(value: Any) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, str):
        return shortened(value)
    # Lists and objects stay what they are in JSON, unless they are long.
    text = str(value)
    return value if len(text) <= MAX_TEXT_CHARS else shortened(text)


def _quoted(value: str) -> str:
    if value.isprintable() and not any(char in value for char in ' "=\\'):
        return value
    return escaped(json.dumps(value, ensure_ascii=False))
