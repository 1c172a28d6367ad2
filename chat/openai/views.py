"""`POST /v1/chat/completions` and `GET /v1/models`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.openai.metering import MeteredRun
from chat.openai.reply import DONE, Chunks, completion_body, error_body, event
from chat.openai.request import CompletionRequestSerializer, canonical_request
from chat.options import refuse_models, requested_target
from chat.outcome import ProviderFailed, error_data
from config.api.errors import BadGateway, exception_handler, problem
from config.api.parsers import PassThroughJSONParser
from config.logs import request_id
from llm import canonical, providers
from llm.catalogue import catalogue
from llm.routing import default_route, parse_route
from tenants import rights
from tenants.access import Access
from tenants.authentication import ApiKeyAuthentication, BearerKeyAuthentication
from tenants.permissions import HasRight
from tenants.throttling import show_minute

COMPLETION_REQUEST = CompletionRequestSerializer()


class OpenAIView(APIView):
    """A view for OpenAI's clients: a key as Bearer or X-API-Key, errors in their shape."""

    authentication_classes = [BearerKeyAuthentication, ApiKeyAuthentication]
    permission_classes = [HasRight]
    parser_classes = [PassThroughJSONParser]

    @property
    def access(self) -> Access:
        if self.request.auth.key.is_public:
            raise PermissionDenied("Public keys can't be used here.", "public_key")
        return self.request.auth

    def get_exception_handler(self):
        return in_their_shape


def in_their_shape(exc: Exception, context: dict[str, Any]) -> Response:
    """Answer an error with the product's status and headers, and a body their clients can read."""
    response = exception_handler(exc, context)
    response.data = error_body(response.data)
    response.content_type = "application/json"
    return response


class CompletionsView(OpenAIView):
    rights = {"POST": rights.SEND_MESSAGES}
    throttle_classes = []  # limited by the tenant's plan, in the update that admits the run

    @extend_schema(
        request=CompletionRequestSerializer,
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/event-stream"): OpenApiTypes.STR,
        },
    )
    def post(self, request: Request) -> Response | StreamingHttpResponse:
        body = COMPLETION_REQUEST.run_validation(request.data)
        plan = self.access.tenant.plan
        if body["stream"] and not plan.streaming:
            raise PermissionDenied("This plan does not include streaming.", "streaming_not_in_plan")
        asked = canonical_request(body, longest_answer=plan.max_output_tokens)
        route = self._route(body)
        run = MeteredRun(self.access, asked, route, stream=bool(body["stream"]))
        show_minute(request, run.admission.minute)
        if body["stream"]:
            wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return CompletionStream(run, include_usage=wants_usage)
        return Response(completion_body(_completion(run), str(run.id)))

    def _route(self, body: dict[str, Any]) -> tuple[canonical.Target, ...]:
        """Return the targets of `model` and `fallbacks`. Raises 404 for what is no model."""
        tenant = self.access.tenant
        try:
            if body["model"] == "default":
                first = parse_route(tenant.route) if tenant.route else default_route()
            else:
                first = parse_route([requested_target(None, body["model"])])
            names = [requested_target(None, name) for name in body.get("fallbacks", [])]
            route = first + (parse_route(names) if names else ())
        except ValueError as error:
            raise NotFound(str(error), "model_not_found") from error
        if not route:
            raise NotFound("No provider is configured on this server.", "model_not_found")
        refuse_models(self.access.key, route)
        return route


def _completion(run: MeteredRun) -> canonical.Completion:
    for happened in run:
        match happened:
            case canonical.Finished(completion):
                return completion
            case canonical.Failed(error):
                raise ProviderFailed(error_data(error))
    raise AssertionError("a run ends with Finished or Failed")


class CompletionStream(StreamingHttpResponse):
    """The chunks of a run. A failure before the first is an HTTP error; later ones go in-band.

    When the client goes away the provider is stopped and what was used is billed.
    """

    def __init__(self, run: MeteredRun, *, include_usage: bool) -> None:
        events = iter(run)
        first = next(events)
        if isinstance(first, canonical.Failed):
            raise ProviderFailed(error_data(first.error))
        super().__init__(
            _Closing(_chunks(run, first, events, include_usage), run),
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"},
        )


class _Closing:
    """An iterator whose `close` stops the run, even if it was never started."""

    def __init__(self, chunks: Iterator[bytes], run: MeteredRun) -> None:
        self._chunks = chunks
        self._run = run

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._run.close()


def _chunks(
    run: MeteredRun, first: canonical.Started, events: Iterator[canonical.Event], include_usage: bool
) -> Iterator[bytes]:
    chunks = Chunks(str(run.id), first.target)
    yield chunks.role()
    for happened in events:
        match happened:
            case canonical.Text(text):
                yield chunks.text(text)
            case canonical.Reasoning(text):
                yield chunks.reasoning(text)
            case canonical.ToolCallDelta():
                yield chunks.tool_call(happened)
            case canonical.Restarted():
                # Their wire has no word for "forget what you have".
                broken = BadGateway("The answer broke off and could not be continued.", "answer_broken")
                yield event(error_body(problem(broken, request_id.get())))
                return
            case canonical.Finished(completion):
                yield chunks.end(completion)
                if include_usage:
                    yield chunks.usage(completion.usage)
                yield DONE
            case canonical.Failed(error):
                yield event(error_body(problem(ProviderFailed(error_data(error)), request_id.get())))


class ModelsView(OpenAIView):
    rights = {"GET": rights.SEND_MESSAGES}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """List `default`, the models of the configured providers, and those of the tenant's route."""
        route = parse_route(self.access.tenant.route) if self.access.tenant.route else default_route()
        targets = list(route)
        for provider in providers.configured():
            targets += (entry.target for entry in catalogue().of(provider.name))
        owners = {str(target): target.provider for target in targets}
        allowed = self.access.key.allowed_models
        rows = [_model(name, owner) for name, owner in owners.items() if not allowed or name in allowed]
        return Response({"object": "list", "data": [_model("default", "default"), *rows]})


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
