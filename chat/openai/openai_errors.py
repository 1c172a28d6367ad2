"""Every error in the shape of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.

Statuses are chosen so that OpenAI's clients raise the exception class that their
users catch. What a provider refuses is a fault of the request (400), as it would
be at OpenAI; on the product's own endpoints it is a 422.
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

#: Error kind of a provider -> status, code and parameter at fault. The rest is 502 `provider_failed`.
_FAILURES = {
    "bad_request": (400, "provider_refused", None),
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


class OpenAIErrorDetailSerializer(serializers.Serializer):
    message = serializers.CharField()
    type = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    code = serializers.CharField()


class OpenAIErrorSerializer(serializers.Serializer):
    """An error as OpenAI's clients read it."""

    error = OpenAIErrorDetailSerializer()


class NoAnswer(APIException):
    """No provider gave a whole answer."""

    def __init__(self, error: ProviderError) -> None:
        self.status_code, code, self.param = _FAILURES.get(error.kind, (502, "provider_failed", None))
        self.headers = {}
        if self.status_code in _RETRYABLE:
            seconds = error.retry_after_seconds or _DEFAULT_RETRY_SECONDS
            self.headers["Retry-After"] = str(math.ceil(seconds))
        # LangChain knows this failure by these words.
        sentence = f"The prompt is too long. {error}" if error.kind == "context_length" else str(error)
        super().__init__(sentence, code)


class AnswerBroken(UpstreamFailed):
    """The answer would have to start again, and this wire has no word for "drop what you have"."""

    default_code = "answer_broken"
    default_detail = "The answer broke off and could not be continued."


class ModelNotFound(NotFound):
    default_code = "model_not_found"
    param = "model"


def in_their_shape(exc: Exception, context: dict[str, Any]) -> Response:
    """Answer an error with the product's status and headers, and a body OpenAI's clients can read."""
    response = exception_handler(exc, context)
    response.data = _body(response.data, getattr(exc, "param", None))
    response.content_type = "application/json"
    return response


def error_body(error: APIException | DomainError) -> dict[str, Any]:
    """Return the body for `error` where no view answers it: in a stream that has begun."""
    return _body(problem_of(error).body(""), getattr(error, "param", None))


def _body(told: dict[str, Any], param: str | None) -> dict[str, Any]:
    status, code = told["status"], told["code"]
    if told["errors"]:
        param, code = told["errors"][0]["field"], told["errors"][0]["code"]
    fallback = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": told["detail"],
            "type": _TYPES.get(status, fallback),
            "param": param,
            "code": code,
        }
    }
