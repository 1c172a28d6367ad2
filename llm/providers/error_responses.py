"""What a provider's error response means: its status and text become one of our errors.

Errors come as an object, a text, a list of one, or not at all; with an HTTP status or inside
a stream that began with 200; with codes that are words, numbers or numbers written as text.
In order of precedence count: the provider's own rule (`Provider.classify_error`), codes that
mean one thing, the status, the text.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm import errors
from llm.providers import retry_after
from llm.providers.json_values import as_dict
from llm.providers.network_errors import NETWORK_ERRORS
from llm.providers.reader import shown_code
from llm.providers.stream import JSONStream, ResponseBody, StreamError
from llm.providers.text import sanitized
from llm.providers.transport import CallDeadline, DeadlineExceeded

_READ_SECONDS = 2.0
_READ_BYTES = 65536
_MAX_DETAIL = 1000

#: A longer delay is a provider's mistake, such as a time where a duration is meant.
MAX_RETRY_SECONDS = 31 * 86400.0


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error as the provider put it. `codes` are its words in lower case, the most specific first."""

    status: int | None
    message: str
    codes: tuple[str, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

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


def _decoded(content: bytearray) -> Any:
    stream = JSONStream(io.BytesIO(content), max_event_bytes=2 * _READ_BYTES, max_reply_bytes=2 * _READ_BYTES)
    with contextlib.suppress(StreamError):
        while not stream.done:
            for document in stream.read():
                return document.value
    return content.decode(errors="replace").strip()


def parse_error(body: Any, *, status: int | None, headers: Mapping[str, str] | None = None) -> ErrorResponse:
    """Return the error in a decoded body, or in the text of one that is not JSON.

    `status` is None inside a stream; a status in the error itself then counts.
    """
    error = _innermost(body)
    if not isinstance(error, Mapping):
        text = error if isinstance(error, str) else "" if error is None else str(error)
        return ErrorResponse(status, sanitized(text), headers=headers or {})
    words = [
        # OpenRouter's `error_type` is more specific than the status beside it, and its
        # `availability` errors have no code: https://openrouter.ai/docs/api/reference/errors-and-debugging
        # (the former), observed 2026-11 (the latter).
        as_dict(error.get("metadata")).get("error_type"),
        error.get("error_type"),
        as_dict(error.get("availability")).get("code"),
        error.get("code"),
        error.get("type"),
        error.get("status"),
    ]
    numbers = [error.get(name) for name in ("http_status", "status_code", "code", "status")]
    if status is None or status < 400:
        status = next((number for value in numbers if (number := _http_status(value))), None)
    codes = tuple(word.strip().lower() for word in words if isinstance(word, str) and not _http_status(word))
    # FastAPI servers say {"detail": …}, which may also be a list: https://fastapi.tiangolo.com/tutorial/handling-errors/
    message = next((error[name] for name in ("message", "detail", "msg") if error.get(name)), "")
    return ErrorResponse(status, sanitized(str(message)), codes, error, headers or {})


def _innermost(body: Any) -> Any:
    """Return the error inside `{"error": …}`, a list of one, or `{"detail": …}`.

    Gemini sends the list: https://github.com/google-gemini/gemini-cli/issues/14831 (2025-12).
    """
    while True:
        if isinstance(body, list) and body:
            body = body[0]
        elif isinstance(body, Mapping) and body.get("error"):
            inner = body["error"]
            # OpenRouter and some local servers put the code beside a text (observed 2026-11).
            body = {**body, "message": inner, "error": None} if isinstance(inner, str) else inner
        else:
            return body


def _http_status(value: Any) -> int | None:
    try:
        number = int(str(value).strip())
    except (TypeError, ValueError):
        return None
    return number if 400 <= number <= 599 else None


# -- meaning -----------------------------------------------------------------------


def classify_error(response: ErrorResponse) -> type[errors.ProviderError]:
    """Return the class of an error for which the provider has no rule of its own."""
    for code in response.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    status, message = response.status, response.message
    kind = _BY_STATUS.get(status) if status else None
    if kind is None and status is not None:
        kind = errors.Overloaded if status >= 500 else errors.BadRequest if status >= 400 else None
    if kind is None:
        kind = next(
            (_BY_VAGUE_CODE[code] for code in response.codes if code in _BY_VAGUE_CODE), errors.BadReply
        )
    # llama.cpp may report a long prompt as 500: https://github.com/ggml-org/llama.cpp/issues/19774 (2026-02)
    if kind in (errors.BadRequest, errors.BadReply) or status == 500:
        if _TOO_LONG.search(message):
            return errors.ContextTooLong
        if _BAD_KEY.search(message) and status != 500:
            return errors.Unauthorized
    return kind


def retry_delay(response: ErrorResponse) -> float | None:
    """Return the seconds that the response asks us to wait, None if it does not say."""
    seconds = retry_after.from_headers(response.headers)
    if seconds is not None:
        return seconds
    delay = response.availability.get("retry_after")
    return retry_after.from_message(response.message) if delay is None else retry_after.seconds_of(str(delay))


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
) -> errors.ProviderError:
    """Return the error to raise: our sentence, with the provider's words without `secret` as `detail`."""
    sentence = _REDIRECTED if response.is_redirect else _SENTENCES[kind]
    status = f" (status {response.status})" if response.status else ""
    code = next((shown for code in response.codes if (shown := shown_code(code))), "")
    words = " · ".join([*dict.fromkeys(response.codes), response.message]).strip(" ·")
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
    if issubclass(kind, errors.BadReply):
        facts["by_model"] = any(_BY_CODE.get(code) is errors.BadReply for code in response.codes)
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
    errors.ContextTooLong: "The conversation is too long for {model} at {label}.",
    errors.BadRequest: "{label} refused the request as invalid{status}.",
    errors.Blocked: "{label} blocked the request or its answer{code}.",
    errors.BadReply: "{label} answered with an error{code}.",
}

#: Codes that mean one thing, whatever the status beside them (2026-11):
#: OpenAI https://platform.openai.com/docs/guides/error-codes,
#: Groq https://console.groq.com/docs/errors,
#: OpenRouter https://openrouter.ai/docs/api/reference/errors-and-debugging,
#: Gemini https://ai.google.dev/gemini-api/docs/troubleshooting,
#: llama.cpp https://github.com/ggml-org/llama.cpp/tree/master/tools/server.
_BY_CODE: dict[str, type[errors.ProviderError]] = {
    code: kind
    for kind, codes in {
        errors.Unauthorized: "authentication authentication_error invalid_api_key api_key_invalid "
        "unauthenticated permission_denied permission_error account_deactivated",
        errors.BillingRefused: "payment_required insufficient_quota insufficient_credits billing_error "
        "billing_hard_limit_reached billing_not_active",
        errors.RateLimited: "rate_limit_exceeded rate_limit_error too_many_requests resource_exhausted",
        errors.Overloaded: "provider_overloaded provider_unavailable overloaded overloaded_error "
        "engine_overloaded server timeout unavailable unavailable_error service_unavailable "
        "deadline_exceeded",
        errors.ModelNotFound: "model_not_found model_decommissioned model_not_active",
        errors.ContextTooLong: "context_length_exceeded exceed_context_size_error string_above_max_length",
        errors.Blocked: "content_policy_violation content_filter content_filtered refusal moderation "
        "moderation_blocked",
        # Groq: the model wrote an invalid tool call or JSON, so that another attempt may succeed.
        errors.BadReply: "tool_use_failed json_validate_failed output_parse_failed",
    }.items()
    for code in codes.split()
}

#: Codes that many different errors share: used only where there is no status.
_BY_VAGUE_CODE: dict[str, type[errors.ProviderError]] = {
    "invalid_request": errors.BadRequest,
    "invalid_request_error": errors.BadRequest,
    "invalid_argument": errors.BadRequest,
    "bad_request": errors.BadRequest,
    "not_found": errors.ModelNotFound,
    "not_found_error": errors.ModelNotFound,
    "server_error": errors.Overloaded,
    "internal": errors.Overloaded,
    "internal_error": errors.Overloaded,
    "internal_server_error": errors.Overloaded,
    "api_error": errors.Overloaded,
}

_BY_STATUS: dict[int, type[errors.ProviderError]] = {
    401: errors.Unauthorized,
    402: errors.BillingRefused,
    403: errors.Unauthorized,
    404: errors.ModelNotFound,
    408: errors.Overloaded,
    410: errors.ModelNotFound,
    429: errors.RateLimited,
    # Groq's flex tier at capacity: https://console.groq.com/docs/flex-processing (2026-11)
    498: errors.RateLimited,
}

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|prompt is too long|too many (?:input )?tokens"
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)|input token count.{0,80}exceeds"
    r"|exceeds? the (?:model's )?(?:maximum|max) (?:number of )?(?:input )?tokens",
    re.IGNORECASE | re.DOTALL,
)
_BAD_KEY = re.compile(r"(?:incorrect|invalid|missing|no) api[ _-]?key|api[ _-]?key not valid", re.IGNORECASE)
