"""The OpenAPI schema of operations, with the problems that each may respond."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

from core.api.problems import CONTENT_TYPE


class FieldProblemSerializer(serializers.Serializer[Any]):
    field = serializers.CharField(allow_null=True)
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457, with the invalid fields in `errors`."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()
    errors = FieldProblemSerializer(many=True)  # type: ignore[assignment]  # a field, as DRF declares them
    request_id = serializers.CharField()


_PROBLEMS = {
    "400": "The request is malformed or invalid.",
    "401": "No credentials, or none that are valid.",
    "403": "Known, but not allowed.",
    "404": "There is no such thing within the caller's reach.",
    "405": "The method is not offered here.",
    "406": "The client accepts no representation on offer.",
    "409": "The request conflicts with the present state.",
    "410": "What the request works on was deleted meanwhile.",
    "412": "The resource changed since it was read.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The request is understood and can't be processed, or its Idempotency-Key had another body.",
    "429": "A limit is reached.",
    "502": "No provider gave an answer.",
    "503": "The service is not available right now.",
}


class Schema(AutoSchema):
    """Adds the error responses of each operation.

    A view whose errors are not problems sets `error_shape`, a serializer and a media type.
    `also_answers` names the statuses that can't be derived from its methods and paths.
    """

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        shape, media_type = getattr(self.view, "error_shape", (ProblemSerializer, CONTENT_TYPE))
        for code, meaning in _PROBLEMS.items():
            if code not in responses and self._may_answer(code):
                responses[code] = self._get_response_for_code(  # type: ignore[no-untyped-call]  # upstream's
                    OpenApiResponse(shape, meaning),
                    code,
                    media_types=[media_type],
                    direction=direction,
                )
        return responses

    def _may_answer(self, code: str) -> bool:
        has_body = self.method in {"POST", "PUT", "PATCH"}
        if code in {"413", "415"}:
            return has_body
        if code in getattr(self.view, "also_answers", ()):
            return True
        if code == "409":
            return self.method != "GET"
        if code == "422":
            return self.method == "POST"
        if code == "412":
            return self.method in {"PUT", "PATCH", "DELETE"}
        if code == "404":
            return "{" in self.path
        return code not in {"410", "502"}
