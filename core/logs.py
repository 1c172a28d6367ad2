"""Log formats: JSON in production, plain text in development, without secrets in both."""

from __future__ import annotations

import contextvars
import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

#: Id of the request that this thread serves, "" outside of requests.
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

#: Shapes of secrets: our API keys and tokens, the providers' keys, passwords in URLs.
_SECRETS = re.compile(
    r"""(?x)
    \b cap_(?:pk|sk)_(?:live|test)_ [0-9A-Za-z]{16,}
  | \b whsec_ [0-9A-Za-z+/=]{16,}
  | \b inv_ [\w-]{16,}
  | \b eyJ[\w-]{8,}\.[\w-]+\.[\w-]*
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


class OnlyTracebacks(logging.Filter):
    """Passes only exceptions of Django's own request log; the rest is in ours, one line per request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the call's `extra` and the id of the current request."""
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if current := request_id.get():
            extra.setdefault("request_id", current)
        return extra

    def time(self, record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class JSONFormatter(_Formatter):
    """One JSON object per line: time, level, logger, event, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class ConsoleFormatter(_Formatter):
    """`time level event field=value …`, with the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.fields(record).items() if value != "")
        line = f"{self.time(record)} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redact(line)
