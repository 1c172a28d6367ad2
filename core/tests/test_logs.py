"""Log lines of texts that callers, providers and errors bring along."""

from __future__ import annotations

import json
import logging
import time

import pytest

from core import logs

FORMATTERS = [logs.JSONFormatter(), logs.ConsoleFormatter()]

#: Line breaks, escape sequences, reversed text, invisible characters.
UNPRINTABLE = [
    "\n",
    "\r",
    "\x1b[2J",
    "\x00",
    "\x7f",
    "\x85",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\u200f",
]


def record(event: str, error: Exception | None = None, **fields: object) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("chat", logging.INFO, "", 0, event, (), info)
    vars(made).update(fields)
    return made


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("hostile", UNPRINTABLE)
def test_no_text_breaks_or_hides_a_line(formatter, hostile):
    text = f"/x{hostile}2026-01-01T00:00:00.000Z info    user logged in"

    line = formatter.format(record(text, path=text, nested={"a": [text]}))

    assert line.isprintable()
    assert "user logged in" in line


def test_json_lines_keep_the_text():
    text = "".join(UNPRINTABLE) + "Zürich 👩‍🚀"
    line = logs.JSONFormatter().format(record("request", path=text))
    assert json.loads(line)["path"] == text
    assert "Zürich" in line


def test_a_value_can_not_be_read_as_several_fields():
    line = logs.ConsoleFormatter().format(record("request", path='/x status=200 user="admin"', status=404))
    assert line.endswith(r'path="/x status=200 user=\"admin\"" status=404')


def test_lines_of_a_traceback_can_not_be_mistaken_for_log_lines():
    error = ValueError("wrong\n2026-01-01T00:00:00.000Z info    user logged in\r\x1b[1A")
    first, *others = logs.ConsoleFormatter().format(record("failed", error)).split("\n")
    assert first.endswith("failed")
    assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_line_is_of_bounded_length(formatter):
    long = "word " * 50_000
    line = formatter.format(record(long, ValueError(long), path=long, nested={"a": [long]}))
    assert len(line) < 3 * logs.MAX_TEXT_CHARS + logs.MAX_TRACEBACK_CHARS + 1000
    assert "more)" in line


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("offset", range(0, 60, 7))
def test_a_secret_that_is_cut_is_redacted(formatter, offset):
    secret = "cap_sk_live_" + "a1B2" * 10
    text = "/" + "x" * (logs.MAX_TEXT_CHARS - 1 - offset) + " " + secret + "y" * 100
    assert "cap_sk_live" not in formatter.format(record("request", path=text))


@pytest.mark.parametrize(
    "repeated", ["-eyJ", "eyJ.", "eyJaaaaaaaa.", "://", "://a:", "Bearer ", "sk-", "-inv_", "cap_"]
)
def test_redaction_takes_linear_time(repeated):
    text = (repeated * 100_000)[:100_000]
    began = time.thread_time()
    logs.redact(text)
    assert time.thread_time() - began < 0.2


@pytest.mark.parametrize(
    "token", ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", "eyJhbGciOiJIUzI1NiJ9..a.b.c"]
)
def test_parts_of_tokens_are_redacted(token):
    assert logs.redact(f"<{token}>") == "<[redacted]>"
