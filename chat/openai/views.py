"""`POST /v1/chat/completions`, `GET /v1/models` and `GET /v1/models/{model}`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from chat.openai.choice import available_models, chosen_route, targets_accepting
from chat.openai.metering import MeteredRun
from chat.openai.openai_errors import (
    CompletionFailed,
    ModelNotFound,
    OpenAIErrorSerializer,
    error_body,
    openai_exception_handler,
)
from chat.openai.reply import completion_body
from chat.openai.request import CompletionRequestSerializer, canonical_request
from chat.openai.stream import CompletionStream
from chat.turns import AccessEnded
from core.api.parsers import PassThroughJSONParser
from llm import canonical, errors
from tenants.access import Access, KeyCaller, rights
from tenants.access.views import TenantScopedView
from tenants.authentication import ApiKeyAuthentication, BearerKeyAuthentication
from tenants.throttling import show_plan_rate

ExceptionHandler = Callable[[Exception, dict[str, Any]], Response]

COMPLETION_REQUEST = CompletionRequestSerializer()


class OpenAIView(TenantScopedView):
    """A view for OpenAI's clients: a key as Bearer or X-API-Key, errors in OpenAI's format.

    X-API-Key takes precedence: OpenAI's packages always send a Bearer token, if only a placeholder.
    """

    authentication_classes = [ApiKeyAuthentication, BearerKeyAuthentication]
    parser_classes = [PassThroughJSONParser]
    error_shape = (OpenAIErrorSerializer, "application/json")

    @property
    def caller(self) -> KeyCaller:
        return cast(KeyCaller, self.request.auth)

    def get_access(self) -> Access:
        """Return the key's access. Raises PermissionDenied, for public keys too."""
        if self.caller.is_public:
            raise PermissionDenied("Public keys can't be used here.", "public_key")
        return self.authorize(self.caller.access)

    def get_exception_handler(self) -> ExceptionHandler:
        return openai_exception_handler


class ChunkEventSerializer(serializers.Serializer[Any]):
    """An event of a stream."""

    data = serializers.CharField(  # type: ignore[assignment]  # the name that the field has in an event
        help_text="A chat.completion.chunk, an error, or [DONE].", required=False
    )


class CompletionsView(OpenAIView):
    rights = {"POST": rights.SEND_MESSAGES}
    also_answers = {"404", "502"}
    throttle_classes = []  # limited by the tenant's plan, in the update that admits the run

    @extend_schema(
        request=CompletionRequestSerializer,
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/event-stream"): ChunkEventSerializer,
        },
    )
    def post(self, request: Request) -> Response | StreamingHttpResponse:
        access = self.get_access()
        body = COMPLETION_REQUEST.run_validation(request.data)
        plan = access.tenant.plan
        if body["stream"] and not plan.streaming:
            raise PermissionDenied("This plan does not include streaming.", "streaming_not_in_plan")
        route = chosen_route(access, body["model"], body["fallbacks"])
        prompt, route = targets_accepting(canonical_request(body, plan, route), route)
        # What a stream has sent cannot be taken back.
        run = MeteredRun(access, prompt, route, can_restart=not body["stream"])
        show_plan_rate(request, run.admission.minute)
        if body["stream"]:
            include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return CompletionStream(run, include_usage=include_usage)
        return Response(completion_body(_completion(run), str(run.id), run.notes))


def _completion(run: MeteredRun) -> canonical.Completion:
    """Return the complete answer, or what a content filter left of it.

    Raises CompletionFailed, and AccessEnded if the key was revoked meanwhile.
    """
    *_, last = run
    if run.is_revoked:
        raise AccessEnded
    match last:
        case canonical.Finished(completion):
            return completion
        case canonical.Failed(errors.Blocked(), canonical.Completion() as partial):
            return partial
        case canonical.Failed(error):
            raise CompletionFailed(error)
    raise AssertionError("A run ends with Finished or Failed.")


class ModelsView(OpenAIView):
    rights = {"GET": rights.SEND_MESSAGES}

    @extend_schema(operation_id="v1_models_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """List the names that `model` can have."""
        names = available_models(self.get_access())
        return Response({"object": "list", "data": [_model(name) for name in names]})


class ModelView(OpenAIView):
    rights = {"GET": rights.SEND_MESSAGES}

    @extend_schema(
        # No path of the URL configuration matches a line break.
        parameters=[OpenApiParameter("name", {"type": "string", "pattern": r"^[^\r\n]+$"}, "path")],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, name: str) -> Response:
        if name not in available_models(self.get_access()):
            raise ModelNotFound(f"There is no model {name[:240]!r}. GET /v1/models lists those there are.")
        return Response(_model(name))


@csrf_exempt
def unknown_path(request: HttpRequest, rest: str = "") -> JsonResponse:
    """Answer requests to the rest of OpenAI's API, which clients may be configured to use."""
    sentence = f"There is no /v1/{rest[:100]} here, only /v1/chat/completions and /v1/models."
    return JsonResponse(error_body(NotFound(sentence)), status=404)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}
