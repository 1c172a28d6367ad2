"""`/api/llm`: the providers, and a test of whether they answer."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llm import providers
from llm.catalogue import catalogue
from llm.probe import probe
from llm.route import default_route
from llm.serializers import (
    ProvidersSerializer,
    ProviderTestRequestSerializer,
    ProviderTestResultsSerializer,
)

TEST_REQUEST = ProviderTestRequestSerializer()
PROVIDERS = ProvidersSerializer()
RESULTS = ProviderTestResultsSerializer()


class ProvidersView(APIView):
    """Every provider with its known models, and the route of requests that do not name one."""

    @extend_schema(responses=ProvidersSerializer)
    def get(self, request: Request) -> Response:
        known = catalogue()
        listed = [
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
        return Response(PROVIDERS.to_representation({"results": listed, "default_route": route}))


class ProviderTestView(APIView):
    """Call every configured provider, or the one named, whole and streamed.

    The status is 200 whatever the providers do: their failures are the result.
    """

    rate_scope = "llm.test"

    @extend_schema(request=ProviderTestRequestSerializer, responses=ProviderTestResultsSerializer)
    def post(self, request: Request) -> Response:
        test = TEST_REQUEST.run_validation(request.data)
        names = [test["provider"]] if "provider" in test else list(providers.PROVIDERS)
        results = probe([providers.get(name) for name in names], test.get("model", ""))
        outcomes = [result.ok for result in results if result.configured]
        ok = bool(outcomes) and all(outcomes)
        return Response(RESULTS.to_representation({"ok": ok, "results": results}))
