"""What a provider's refusal means: its status and words become one of our errors.

Errors come as an object, a text, a list of one, or not at all; with an HTTP status
or inside a stream that began with 200; with codes that are words, numbers or
numbers written as text. The order of belief: what the provider's own rule says
(`Provider.judge`), then codes that mean one thing, then the status, then the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm import errors
from llm.providers import retry_after
from llm.providers.answer import reason
from llm.providers.text import harmless

_MAX_DETAIL = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the provider put it. `codes` are its words in lower case, most telling first."""

    status: int | None
    message: str
    codes: tuple[str, ...] = ()
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata = self.error.get("metadata")
        return metadata if isinstance(metadata, Mapping) else {}


def read(body: Any, *, status: int | None, headers: Mapping[str, str] | None = None) -> Refusal:
    """Return the refusal in a decoded body, or in the text of one that is not JSON.

    `status` is None inside a stream; a status in the error itself then counts.
    """
    error = _innermost(body)
    if not isinstance(error, Mapping):
        text = error if isinstance(error, str) else "" if error is None else str(error)
        return Refusal(status, harmless(text), headers=headers or {})
    metadata = error.get("metadata") if isinstance(error.get("metadata"), Mapping) else {}
    availability = error.get("availability") if isinstance(error.get("availability"), Mapping) else {}
    told = [
        metadata.get("error_type"),
        error.get("error_type"),
        availability.get("code"),
        error.get("code"),
        error.get("type"),
        error.get("status"),
    ]
    numbers = [error.get(name) for name in ("http_status", "status_code", "code", "status")]
    if status is None or status < 400:
        status = next((number for value in numbers if (number := _http_status(value))), None)
    codes = tuple(word.strip().lower() for word in told if isinstance(word, str) and not _http_status(word))
    message = next((error[name] for name in ("message", "detail", "msg") if error.get(name)), "")
    return Refusal(status, harmless(str(message)), codes, error, headers or {})


def kind_of(refusal: Refusal) -> type[errors.ProviderError]:
    """Return the class of error for a refusal about which the provider has no rule of its own."""
    for code in refusal.codes:
        if code in _MEANINGS:
            return _MEANINGS[code]
    status, message = refusal.status, refusal.message
    kind = _STATUS.get(status) if status else None
    if kind is None and status is not None:
        kind = errors.Overloaded if status >= 500 else errors.BadRequest if status >= 400 else None
    if kind is None:
        kind = next((_VAGUE[code] for code in refusal.codes if code in _VAGUE), errors.BadReply)
    if kind in (errors.BadRequest, errors.BadReply) or status == 500:
        if _TOO_LONG.search(message):
            return errors.ContextTooLong
        if _BAD_KEY.search(message) and status != 500:
            return errors.Unauthorized
    return kind


def waiting(refusal: Refusal) -> float | None:
    """Return the seconds the refusal asks us to wait, None if it names none."""
    seconds = retry_after.from_headers(refusal.headers)
    if seconds is not None:
        return seconds
    availability = refusal.error.get("availability")
    if isinstance(availability, Mapping) and availability.get("retry_after") is not None:
        return retry_after.seconds_of(str(availability["retry_after"]))
    return retry_after.from_message(refusal.message)


def error(
    kind: type[errors.ProviderError],
    refusal: Refusal,
    *,
    name: str,
    label: str,
    model: str,
    secret: str = "",
    retry_after_seconds: float | None = None,
    do_not_wait: bool = False,
) -> errors.ProviderError:
    """Return the error to raise: our sentence, the provider's words without `secret` in `detail`."""
    status = f" (status {refusal.status})" if refusal.status else ""
    sentence = _SENTENCES[kind].format(
        label=label, model=model, variable=name.upper(), status=status, why=_why(refusal)
    )
    words = " · ".join([*dict.fromkeys(refusal.codes), refusal.message]).strip(" ·")
    if secret:
        words = words.replace(secret, "[key]")
    facts: dict[str, Any] = {
        "provider": name,
        "status": refusal.status,
        "detail": words[:_MAX_DETAIL],
        "retry_after_seconds": None if do_not_wait else retry_after_seconds,
    }
    if issubclass(kind, errors.RateLimited):
        facts["do_not_wait"] = do_not_wait
    return kind(sentence, **facts)


def _innermost(body: Any) -> Any:
    """Return the error inside `{"error": …}`, a list of one, or `{"detail": …}`."""
    while True:
        if isinstance(body, list) and body:
            body = body[0]
        elif isinstance(body, Mapping) and body.get("error"):
            inner = body["error"]
            # OpenRouter and some local servers put the code beside a text.
            body = {**body, "message": inner, "error": None} if isinstance(inner, str) else inner
        else:
            return body


def _http_status(value: Any) -> int | None:
    try:
        number = int(str(value).strip())
    except (TypeError, ValueError):
        return None
    return number if 400 <= number <= 599 else None


def _why(refusal: Refusal) -> str:
    return next((shown for code in refusal.codes if (shown := reason(code))), "")


_SENTENCES = {
    errors.Unauthorized: "{label} refused the key: check {variable}_API_KEY.",
    errors.BillingRefused: "{label} wants payment: its credit or budget is used up.",
    errors.RateLimited: "{label} allows no more requests for now.",
    errors.Overloaded: "{label} is overloaded or failing{status}.",
    errors.ModelNotFound: "{label} does not know the model {model}: check its name and {variable}_BASE_URL.",
    errors.ContextTooLong: "The conversation is too long for {model} at {label}.",
    errors.BadRequest: "{label} refused the request as invalid{status}.",
    errors.Blocked: "{label} blocked the request or its answer{why}.",
    errors.BadReply: "{label} answered with an error{why}.",
}

#: Codes that mean one thing, whatever the status beside them.
_MEANINGS: dict[str, type[errors.ProviderError]] = {
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
        errors.BadReply: "tool_use_failed json_validate_failed output_parse_failed",
    }.items()
    for code in codes.split()
}

#: Codes that many different refusals share: believed only where there is no status.
_VAGUE: dict[str, type[errors.ProviderError]] = {
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

_STATUS: dict[int, type[errors.ProviderError]] = {
    401: errors.Unauthorized,
    402: errors.BillingRefused,
    403: errors.Unauthorized,
    404: errors.ModelNotFound,
    408: errors.Overloaded,
    410: errors.ModelNotFound,
    429: errors.RateLimited,
    498: errors.RateLimited,
}

_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|maximum context|prompt is too long|too many (?:input )?tokens"
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)|input token count.{0,80}exceeds"
    r"|exceeds? the (?:model's )?(?:maximum|max) (?:number of )?(?:input )?tokens",
    re.IGNORECASE | re.DOTALL,
)
_BAD_KEY = re.compile(r"(?:incorrect|invalid|missing|no) api[ _-]?key|api[ _-]?key not valid", re.IGNORECASE)
