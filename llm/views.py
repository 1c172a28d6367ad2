"""`/api/llm`: the providers, and a test of whether they answer."""

from __future__ import annotations

from typing import cast

from django.db.models import Model
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api.actors import actor_of
from core.audit.models import AuditEvent
from llm import providers
from llm.catalogue import catalogue
from llm.probe import Check, Result, probe
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
    """Call every configured provider, or the one named, whole and streamed. For staff.

    The status is 200 whatever the providers do: their failures are the result. The calls are paid by the
    operator: the audit trail records them with their cost and who made them.
    """

    permission_classes = [IsAdminUser]
    rate_scope = "llm.test"

    @extend_schema(request=ProviderTestRequestSerializer, responses=ProviderTestResultsSerializer)
    def post(self, request: Request) -> Response:
        test = TEST_REQUEST.run_validation(request.data)
        names = [test["provider"]] if "provider" in test else list(providers.PROVIDERS)
        results = probe([providers.get(name) for name in names], test.get("model", ""))
        _record(request, results)
        outcomes = [result.ok for result in results if result.configured]
        ok = bool(outcomes) and all(outcomes)
        return Response(RESULTS.to_representation({"ok": ok, "results": results}))


def _record(request: Request, results: list[Result]) -> None:
    """Record the calls of each provider, with tokens and cost, as an act of the user who made them."""
    calls = {
        f"{result.provider}/{result.model}": (None, [_shown_call(check) for check in result.checks])
        for result in results
        if result.checks
    }
    user = cast(Model, request.user)  # not anonymous: staff only
    AuditEvent.objects.record(actor_of(request), "user.providers_tested", user, changes=calls)


def _shown_call(check: Check) -> str:
    outcome = "ok" if check.ok else check.kind
    return f"{outcome}: {check.tokens} tokens, {'unknown' if check.cost is None else check.cost} USD"
