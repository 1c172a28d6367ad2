"""Errors in the format of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.

https://platform.openai.com/docs/guides/error-codes

The statuses make OpenAI's packages raise the exception class that their users catch. A request that a
provider rejects is a 400, as it is at OpenAI; on the product's own endpoints it is a 422.
"""

from __future__ import annotations

import math
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from core.api.errors import exception_handler, problem_of
from core.errors import DomainError, NotFound, UpstreamFailed
from llm.errors import ProviderError

#: Kind of a provider's error -> status, code and parameter at fault. All others are 502 `provider_failed`.
_FAILURES = {
    "bad_request": (400, "provider_refused", None),
    "unsupported": (400, "provider_refused", None),
    "blocked": (400, "content_filter", "messages"),
    "context_length": (400, "context_length_exceeded", "messages"),
    "not_found": (404, "model_not_found", "model"),
    "rate_limit": (429, "providers_busy", None),
    "circuit_open": (503, "providers_busy", None),
    "out_of_budget": (429, "quota_exceeded", None),
    "budget_unknown": (503, "counter_unavailable", None),
}

_RETRYABLE = (429, 503)
_DEFAULT_RETRY_SECONDS = 10

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class OpenAIErrorDetailSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField()


class OpenAIErrorSerializer(serializers.Serializer[Any]):
    """An error in OpenAI's format."""

    error = OpenAIErrorDetailSerializer()


class CompletionFailed(APIException):
    """No provider gave a complete answer."""

    def __init__(self, error: ProviderError) -> None:
        self.status_code, code, self.param = _FAILURES.get(error.kind, (502, "provider_failed", None))
        self.headers = {}
        if self.status_code in _RETRYABLE:
            default = None if getattr(error, "do_not_wait", False) else _DEFAULT_RETRY_SECONDS
            if seconds := error.retry_after_seconds or default:
                self.headers["Retry-After"] = str(math.ceil(seconds))
        # LangChain recognises this failure by these words.
        sentence = f"The prompt is too long. {error}" if error.kind == "context_length" else str(error)
        super().__init__(sentence, code)


class AnswerBroken(UpstreamFailed):
    """The answer would have to restart, and OpenAI's format can't void chunks that were sent."""

    default_code = "answer_broken"
    default_detail = "The answer broke off and could not be continued."


class ModelNotFound(NotFound):
    default_code = "model_not_found"
    param = "model"


def openai_exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Return the response for any exception of a view: the product's status and headers, OpenAI's body."""
    response = exception_handler(exc, context)
    response.data = _body(response.data, getattr(exc, "param", None))
    response.content_type = "application/json"
    return response


def error_body(error: APIException | DomainError) -> dict[str, Any]:
    """Return the body of an error that is reported outside of a view, as in a stream that has begun."""
    return _body(problem_of(error).body(""), getattr(error, "param", None))


def _body(problem: dict[str, Any], param: str | None) -> dict[str, Any]:
    status, code = problem["status"], problem["code"]
    if problem["errors"]:
        param, code = problem["errors"][0]["field"], problem["errors"][0]["code"]
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": problem["detail"],
            "type": _TYPES.get(status, fallback),
            "param": param,
            "code": code,
        }
    }
