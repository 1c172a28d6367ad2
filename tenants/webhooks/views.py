"""`/api/tenants/{id}/webhooks`."""

from __future__ import annotations

from bson import ObjectId
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView, get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from tenants.access.rights import ADMINISTER
from tenants.access.views import TenantScopedView
from tenants.models import Webhook
from tenants.webhooks.models import TEST_EVENT
from tenants.webhooks.serializers import (
    DeliverySerializer,
    NewWebhookSerializer,
    WebhookDetailSerializer,
    WebhookSerializer,
)


class Webhooks(TenantScopedView, ListAPIView):
    """Where the tenant is told of events. A new webhook's secret is shown once, as `secret`."""

    rights = {"GET": ADMINISTER, "POST": ADMINISTER}
    rate_scope = "tenants.keys"
    serializer_class = WebhookSerializer
    queryset = Webhook.objects.none()

    def get_queryset(self) -> QuerySet[Webhook]:
        return self.tenant.webhooks.all()

    @extend_schema(request=WebhookSerializer, responses={201: NewWebhookSerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str) -> Response:
        asked = WebhookSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        new = Webhook.objects.register(self.tenant, by=actor_of(request), **asked.validated_data)
        return Response(
            {**WebhookSerializer(new.webhook).data, "secret": new.secret},
            status=status.HTTP_201_CREATED,
            headers={
                "Location": reverse("webhook", args=[self.tenant.pk, new.webhook.pk]),
                "ETag": etag(new.webhook),
                "Cache-Control": "no-store",
            },
        )


class WebhookScoped(TenantScopedView):
    """A view below one webhook."""

    def webhook(self) -> Webhook:
        webhook = get_object_or_404(self.tenant.webhooks, pk=self.kwargs["webhook_id"])
        webhook.tenant = self.tenant
        return webhook


class WebhookDetail(WebhookScoped):
    rights = {"GET": ADMINISTER, "PUT": ADMINISTER, "DELETE": ADMINISTER}

    @extend_schema(responses=WebhookDetailSerializer)
    def get(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        return self._shown(self.webhook())

    @extend_schema(request=WebhookSerializer, responses=WebhookDetailSerializer)
    def patch(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        webhook = self.webhook()
        check_if_match(request, webhook)
        asked = WebhookSerializer(webhook, data=request.data, partial=True)
        asked.is_valid(raise_exception=True)
        webhook.change(actor_of(request), **asked.validated_data)
        return self._shown(webhook)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        webhook = self.webhook()
        check_if_match(request, webhook)
        webhook.remove(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _shown(self, webhook: Webhook) -> Response:
        return Response(WebhookDetailSerializer(webhook).data, headers={"ETag": etag(webhook)})


class TestWebhook(WebhookScoped):
    """Queue a `webhook.test` event for one webhook, whatever events it asks for."""

    rights = {"POST": ADMINISTER}
    rate_scope = "tenants.keys"

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @idempotent
    def post(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        webhook = self.webhook()
        delivery = webhook.tell(TEST_EVENT, {"webhook_id": str(webhook.pk)}, once=f"test:{ObjectId()}")
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)
