"""Reads a provider's error response, and makes the error that is raised for it.

Errors come as an object, a text, a list of one, or not at all; with an HTTP status or inside
a stream that began with 200; with codes that are words, numbers or numbers written as text; and with
the reason of another server in them, as an object or as JSON in a text. What they mean is in
`llm.providers.refusal_table`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from requests.structures import CaseInsensitiveDict

from llm import errors
from llm.providers import retry_after
from llm.providers.json_values import as_dict, as_list
from llm.providers.network_errors import NETWORK_ERRORS
from llm.providers.reader import shown_code
from llm.providers.stream import JSONStream, ResponseBody, StreamError
from llm.providers.text import sanitized
from llm.providers.transport import CallDeadline, DeadlineExceeded

_READ_SECONDS = 2.0
_READ_BYTES = 65536
_MAX_DETAIL = 1000
#: Of reasons in reasons, as gateways behind gateways pass them on.
_MAX_DEPTH = 3

#: A longer delay is a provider's mistake, such as a time where a duration is meant.
MAX_RETRY_SECONDS = 31 * 86400.0


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error as the provider put it. `codes` are its words in lower case, the most specific first.

    `inner` is the reason that it passes on from the server behind it.
    """

    status: int | None
    message: str
    codes: tuple[str, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    inner: ErrorResponse | None = None

    @property
    def sentences(self) -> list[str]:
        """The messages of this error and of the reasons within it, the innermost last."""
        return [self.message, *(self.inner.sentences if self.inner else ())]

    @property
    def is_redirect(self) -> bool:
        return self.status is not None and 300 <= self.status < 400

    @property
    def metadata(self) -> Mapping[str, Any]:
        return as_dict(self.error.get("metadata"))

    @property
    def availability(self) -> Mapping[str, Any]:
        return as_dict(self.error.get("availability"))


# -- reading -----------------------------------------------------------------------


def read_error_response(body: ResponseBody, deadline: CallDeadline) -> ErrorResponse:
    """Return the error in a response with a status other than 2xx; reads its body, within bounds."""
    if 300 <= body.status < 400:
        body.close()
        return ErrorResponse(body.status, "")
    content = bytearray()
    deadline.expires_at = min(deadline.expires_at, time.monotonic() + _READ_SECONDS)
    with contextlib.suppress(DeadlineExceeded, StreamError, *NETWORK_ERRORS):  # The status is enough.
        body.read_into(content, _READ_BYTES)
    body.close()
    return parse_error(_decoded(content), status=body.status, headers=body.headers)


class _Bytes(io.BytesIO):
    is_idle = False


def _decoded(content: bytearray) -> Any:
    stream = JSONStream(_Bytes(content), max_event_bytes=2 * _READ_BYTES, max_reply_bytes=2 * _READ_BYTES)
    with contextlib.suppress(StreamError):
        while not stream.done:
            for document in stream.read():
                return document.value
    return content.decode(errors="replace").strip()


def parse_error(
    body: Any, *, status: int | None, headers: Mapping[str, str] | None = None, depth: int = 0
) -> ErrorResponse:
    """Return the error in a decoded body, or in the text of one that is not JSON.

    `status` is None inside a stream; a status in the error itself then counts.
    """
    error = _innermost(body)
    if not isinstance(error, Mapping):
        text = error if isinstance(error, str) else "" if error is None else str(error)
        return ErrorResponse(
            status, sanitized(text), headers=headers or {}, inner=_within(text, status, depth)
        )
    numbers = [error.get(name) for name in ("http_status", "status_code", "code", "status")]
    if status is None or status < 400:
        status = next((number for value in numbers if (number := _http_status(value))), None)
    message = _message(error)
    metadata = as_dict(error.get("metadata"))
    return ErrorResponse(
        status,
        sanitized(message),
        tuple(_codes(error)),
        error,
        # OpenRouter puts the headers of its limits into the body:
        # https://github.com/Gitlawb/openclaude/issues/936 (2026-04)
        _joined(as_dict(metadata.get("headers")), headers or {}),
        # What the host behind OpenRouter said:
        # https://github.com/diegosouzapw/OmniRoute/issues/3044 (2026-06)
        _within(metadata.get("raw"), status, depth, text=True) or _within(message, status, depth),
    )


def _joined(stated: Mapping[str, Any], headers: Mapping[str, str]) -> Mapping[str, str]:
    if not stated:
        return headers
    joined = CaseInsensitiveDict({str(name): str(value) for name, value in stated.items()})
    joined.update(headers)
    return joined


def _innermost(body: Any) -> Any:
    """Return the error inside `{"error": …}`, a list of one, or `{"detail": …}`.

    Gemini sends the list: https://github.com/google-gemini/gemini-cli/issues/14831 (2025-12).
    """
    while True:
        if isinstance(body, list) and body:
            body = body[0]
        elif isinstance(body, Mapping) and body.get("error"):
            inner = body["error"]
            # OpenRouter, xAI and some local servers put the code beside a text (observed 2026-11).
            body = {**body, "message": inner, "error": None} if isinstance(inner, str) else inner
        elif isinstance(body, Mapping) and isinstance(body.get("errors"), list) and body["errors"]:
            body = body["errors"]
        else:
            return body


def _message(error: Mapping[str, Any]) -> str:
    """Return the sentence of the error.

    FastAPI servers say {"detail": …}, which may also be a list:"
    " https://fastapi.tiangolo.com/tutorial/handling-errors/.
    Bedrock behind a gateway writes Message, MiniMax base_resp.status_msg (2026-11).
    """
    base = as_dict(error.get("base_resp"))
    names = ("message", "detail", "msg", "Message", "error_message", "reason", "title")
    value = next((error[name] for name in names if error.get(name)), base.get("status_msg") or "")
    if isinstance(value, Mapping):
        value = value.get("message") or value.get("msg") or value
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words and numbers that name the error, the most specific first."""
    metadata, inner = (
        as_dict(error.get("metadata")),
        as_dict(error.get("innererror") or error.get("inner_error")),
    )
    values = [
        # OpenRouter's `error_type` is more specific than the status beside it, and its
        # `availability` errors have no code: https://openrouter.ai/docs/api/reference/errors-and-debugging
        # (the former), observed 2026-11 (the latter).
        metadata.get("error_type"),
        # Azure's reason for a filtered prompt: https://learn.microsoft.com/en-us/azure/ai-services/openai/concepts/content-filter
        inner.get("code"),
        error.get("error_type"),
        as_dict(error.get("availability")).get("code"),
        error.get("code"),
        error.get("type"),
        error.get("status"),
        error.get("__type"),  # AWS: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
        *(detail.get("reason") for detail in map(as_dict, as_list(error.get("details")))),
        "limit_source" if metadata.get("limit_source") else None,
        "flagged_input" if metadata.get("reasons") or metadata.get("flagged_input") else None,
    ]
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip() and not _http_status(value):
            yield value.strip().lower()


def _within(value: Any, status: int | None, depth: int, *, text: bool = False) -> ErrorResponse | None:
    """Return the error that is nested in `value`: an object, or JSON somewhere in a text; None without one.

    `text`: without JSON, the text itself is the reason.
    """
    if depth >= _MAX_DEPTH or not value:
        return None
    nested = _json_in(value) if isinstance(value, str) else value
    if nested is None and text:
        return ErrorResponse(status, sanitized(value))
    if not isinstance(nested, (Mapping, list)):
        return None
    inner = parse_error(nested, status=None, depth=depth + 1)
    if not (inner.message or inner.codes):
        return None
    return inner if inner.status else replace(inner, status=status)


def _json_in(text: str) -> Any:
    start = text.find("{")
    if start < 0:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.JSONDecoder().raw_decode(text, start)[0]
    return None


def _http_status(value: Any) -> int | None:
    try:
        number = int(str(value).strip())
    except (TypeError, ValueError):
        return None
    return number if 400 <= number <= 599 else None


# -- what to raise ----------------------------------------------------------------


#: A limit that no wait of a run outlasts.
_LONG_LIMIT = re.compile(
    r"(?:per|a|each|this)[ -](?:day|week|month)\b|\b(?:daily|weekly|monthly)\b|\b[tr]pd\b|free_tier_daily",
    re.IGNORECASE,
)

#: Words of a window; a body that is too large for one host may be sent to another.
_OF_THE_WINDOW = re.compile(r"token|context|window|prompt|conversation|messages|length", re.IGNORECASE)


def retry_delay(response: ErrorResponse) -> tuple[float | None, bool]:
    """Return (seconds that the response asks us to wait or None, True if waiting does not help)."""
    # A single request larger than the limit per minute: Groq's rate limit as 413,
    # https://github.com/continuedev/continue/issues/10218 (2026-02).
    do_not_wait = response.status == 413
    words = " ".join([*response.sentences, str(response.metadata.get("limit_source") or "")])
    seconds = retry_after.from_headers(response.headers)
    if seconds is None and (delay := response.availability.get("retry_after")) is not None:
        seconds = retry_after.seconds_of(str(delay))
    if seconds is None:
        seconds = retry_after.from_message(words)
    return seconds, do_not_wait or (seconds is None and bool(_LONG_LIMIT.search(words)))


def error_from(
    kind: type[errors.ProviderError],
    response: ErrorResponse,
    *,
    name: str,
    label: str,
    model: str,
    secret: str = "",
    retry_after_seconds: float | None = None,
    do_not_wait: bool = False,
    by_model: bool = False,
) -> errors.ProviderError:
    """Return the error to raise: our sentence, with the provider's words without `secret` as `detail`."""
    sentence = _REDIRECTED if response.is_redirect else _SENTENCES[kind]
    status = f" (status {response.status})" if response.status else ""
    code = next((shown for code in response.codes if (shown := shown_code(code))), "")
    words = " · ".join([*dict.fromkeys(response.codes), *response.sentences]).strip(" ·")
    if secret:
        words = words.replace(secret, "[key]")
    if retry_after_seconds is not None and retry_after_seconds > MAX_RETRY_SECONDS:
        retry_after_seconds = None
    facts: dict[str, Any] = {
        "provider": name,
        "status": response.status,
        "detail": words[:_MAX_DETAIL],
        "retry_after_seconds": None if do_not_wait else retry_after_seconds,
    }
    if issubclass(kind, errors.RateLimited):
        facts["do_not_wait"] = do_not_wait
    if issubclass(kind, errors.ContextTooLong):
        facts["of_the_body"] = not _OF_THE_WINDOW.search(words)
    if issubclass(kind, errors.BadReply):
        facts["by_model"] = by_model
    return kind(
        sentence.format(label=label, model=model, variable=name.upper(), status=status, code=code), **facts
    )


_REDIRECTED = "{label} answered with a redirect, which is never followed: check {variable}_BASE_URL."

_SENTENCES = {
    errors.Unauthorized: "{label} refused the key: check {variable}_API_KEY.",
    errors.BillingRefused: "{label} requires payment: its credit or budget is used up.",
    errors.RateLimited: "{label} allows no more requests for now.",
    errors.Overloaded: "{label} is overloaded or failing{status}.",
    errors.ModelNotFound: "{label} does not know the model {model}: check its name and {variable}_BASE_URL.",
    errors.Unsupported: "{model} at {label} does not support what the request asks for.",
    errors.ContextTooLong: "The conversation is too long for {model} at {label}.",
    errors.BadRequest: "{label} refused the request as invalid{status}.",
    errors.Blocked: "{label} blocked the request or its answer{code}.",
    errors.BadReply: "{label} answered with an error{code}.",
}
