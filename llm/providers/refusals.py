"""What an error response means, by `refusal_table`: the innermost reason that says something decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from llm import errors
from llm.providers.error_responses import ErrorResponse
from llm.providers.refusal_table import LINES, Line, comparable
from llm.providers.wording import shortened

#: Codes that a gateway has put into its sentence: `context_length_exceeded`, `ThrottlingException`.
_NAMES = re.compile(
    r"\b[a-z]+(?:_[a-z]+)+\b|\b[A-Z]+(?:_[A-Z]+)+\b|\b(?:[A-Z][a-z]+)+(?:Error|Exception|Failed)\b"
)


def meaning_of(response: ErrorResponse, line: Line | None) -> type[errors.ProviderError]:
    """Return the class of the error that `response` means, by the line that decides."""
    if line is not None:
        return line.meaning
    status = next(_reasons(response)).status
    if status is None or status < 400:
        return errors.BadReply
    return errors.Overloaded if status >= 500 else errors.BadRequest


def deciding_line(response: ErrorResponse) -> Line | None:
    """Return the line of the table that decides; None if only the class of the status is known."""
    reasons = [(reason, shortened(reason.message)) for reason in _reasons(response)]
    by_status: Line | None = None
    for reason, message in reasons:
        codes = set(map(comparable, [*reason.codes, *_NAMES.findall(message)]))
        for line in LINES:
            if not _matches(line, reason.status, codes, message):
                continue
            if line.codes or line.wording:
                return line
            by_status = by_status or line
            break
    return by_status


def _reasons(response: ErrorResponse) -> Iterator[ErrorResponse]:
    """Yield the reasons from the innermost, of which the sentence counts, to the outermost.

    One without a status has that of the reason around it.
    """
    inner = response.inner
    if inner is not None:
        yield from _reasons(inner if inner.status else replace(inner, status=response.status))
        response = replace(response, message="")
    yield response


def _matches(line: Line, status: int | None, codes: set[str], message: str) -> bool:
    if line.statuses and status not in line.statuses:
        return False
    if line.codes and line.codes.isdisjoint(codes):
        return False
    return line.wording is None or bool(line.wording(message))
