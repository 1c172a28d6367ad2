"""`/api/tenants/{id}/webhooks`."""

from __future__ import annotations

from bson import ObjectId
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from core.api.actors import actor_of
from core.api.etags import check_if_match, etag
from core.api.idempotency import idempotent
from core.api.serializers import validated
from core.errors import NotFound
from tenants.access.rights import ADMINISTER
from tenants.access.views import TenantScopedView
from tenants.models import Tenant, Webhook
from tenants.webhooks.models import TEST_EVENT
from tenants.webhooks.serializers import (
    DeliverySerializer,
    NewWebhookSerializer,
    WebhookDetailSerializer,
    WebhookSerializer,
)


class WebhookViewSet(TenantScopedView, ListModelMixin, GenericViewSet[Webhook]):
    """Receivers of the tenant's events. A new webhook's secret is shown once, as `secret`."""

    records_changes = True
    rights = {"GET": ADMINISTER, "POST": ADMINISTER, "PUT": ADMINISTER, "DELETE": ADMINISTER}
    lookup_url_kwarg = "webhook_id"
    serializer_class = WebhookSerializer
    queryset = Webhook.objects.none()

    @property
    def rate_scope(self) -> str:
        return "tenants.keys" if self.action in {"list", "create", "test"} else "default"

    def get_queryset(self) -> QuerySet[Webhook]:
        tenant = self.get_tenant()
        return tenant.webhooks.all()

    @extend_schema(request=WebhookSerializer, responses={201: NewWebhookSerializer})
    def create(self, request: Request, tenant_id: str) -> Response:
        return self._register(request, self.get_tenant())

    @idempotent
    def _register(self, request: Request, tenant: Tenant) -> Response:
        fields = validated(WebhookSerializer(data=request.data))
        new = Webhook.objects.register(tenant, by=actor_of(request), **fields)
        return Response(
            {**WebhookSerializer(new.webhook).data, "secret": new.secret},
            status=status.HTTP_201_CREATED,
            headers={
                "Location": reverse("webhook", args=[tenant.pk, new.webhook.pk]),
                "ETag": etag(new.webhook),
            },
        )

    @extend_schema(responses=WebhookDetailSerializer)
    def retrieve(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        """The webhook with its latest deliveries."""
        return _detail(self.get_object())

    @extend_schema(request=WebhookSerializer, responses=WebhookDetailSerializer)
    def partial_update(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        """Change the webhook's URL or events, or switch it off or on."""
        webhook = self.get_object()
        check_if_match(request, webhook)
        webhook.change(
            actor_of(request), **validated(WebhookSerializer(webhook, data=request.data, partial=True))
        )
        return _detail(webhook)

    def destroy(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        """Delete the webhook with its deliveries."""
        webhook = self.get_object()
        check_if_match(request, webhook)
        webhook.remove(actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, tenant_id: str, webhook_id: str) -> Response:
        """Queue a `webhook.test` event for one webhook, whatever events it is registered for."""
        self.get_access()
        return self._queue_test(request)

    @idempotent
    def _queue_test(self, request: Request) -> Response:
        webhook = self.get_object()
        delivery = webhook.enqueue(
            TEST_EVENT, {"webhook_id": str(webhook.pk)}, dedup_key=f"test:{ObjectId()}"
        )
        if delivery is None:
            raise NotFound
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


def _detail(webhook: Webhook) -> Response:
    return Response(WebhookDetailSerializer(webhook).data, headers={"ETag": etag(webhook)})
