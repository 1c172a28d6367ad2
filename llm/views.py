"""`/api/llm`: which providers there are, and whether they answer."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llm import providers
from llm.catalogue import catalogue
from llm.probe import probe
from llm.route import default_route
from llm.serializers import ProvidersSerializer, TestRequestSerializer, TestResultsSerializer

ASKED = TestRequestSerializer()
PROVIDERS = ProvidersSerializer()
RESULTS = TestResultsSerializer()


class Providers(APIView):
    """Every provider with the models we know of it, and the route of requests that name none."""

    @extend_schema(responses=ProvidersSerializer)
    def get(self, request: Request) -> Response:
        known = catalogue()
        shown = [
            {
                "name": provider.name,
                "label": provider.label,
                "configured": provider.configured,
                "default_model": provider.model or None,
                "models": known.of(provider.name),
            }
            for provider in map(providers.get, providers.PROVIDERS)
        ]
        route = [str(target) for target in default_route()]
        return Response(PROVIDERS.to_representation({"results": shown, "default_route": route}))


class TestProviders(APIView):
    """Call every configured provider, or the one named, whole and streamed.

    Answers 200 whatever the providers do: their failures are the result.
    """

    rate_scope = "llm.test"

    @extend_schema(request=TestRequestSerializer, responses=TestResultsSerializer)
    def post(self, request: Request) -> Response:
        asked = ASKED.run_validation(request.data)
        names = [asked["provider"]] if "provider" in asked else providers.PROVIDERS
        results = probe([providers.get(name) for name in names], asked.get("model", ""))
        verdicts = [result.ok for result in results if result.configured]
        ok = bool(verdicts) and all(verdicts)
        return Response(RESULTS.to_representation({"ok": ok, "results": results}))
