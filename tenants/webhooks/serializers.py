"""Webhooks as JSON."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from rest_framework import serializers

from core.api.serializers import DocumentSerializer
from tenants.models import Webhook, WebhookDelivery
from tenants.webhooks.addresses import is_public
from tenants.webhooks.models import Event


class WebhookURLField(serializers.CharField):
    """`https://host[:port]/path`, to be sent to as it stands."""

    default_error_messages = {
        "not_https": "Write a URL such as https://hooks.example.com/chat, without user, password or #.",
        "not_public": "This address is not on the public internet.",
    }

    def __init__(self, **options) -> None:
        super().__init__(max_length=500, **options)

    def to_internal_value(self, data) -> str:
        url = super().to_internal_value(data)
        try:
            parts = urlsplit(url)
            is_plain = _is_plain(url, parts)
        except ValueError:
            self.fail("not_https")
        if not is_plain:
            self.fail("not_https")
        if _is_private_literal(parts.hostname):
            self.fail("not_public")
        return url


def _is_plain(url: str, parts: SplitResult) -> bool:
    """Raises ValueError for a port that is none."""
    return (
        parts.scheme == "https"
        and bool(parts.hostname)
        and parts.port != 0
        and "@" not in parts.netloc
        and "#" not in url
        and url.isascii()
        and url.isprintable()
        and not set(url) & set(' "<>\\^`{|}')
    )


def _is_private_literal(host: str) -> bool:
    """Whether the host is an address, told as one, that is not public. Names are looked up when sending."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(ip_address(host))
    except ValueError:
        return False


class DeliverySerializer(DocumentSerializer):
    class Meta:
        model = WebhookDelivery
        fields = (
            "id",
            "event",
            "status",
            "attempts",
            "response_status",
            "problem",
            "due_at",
            "finished_at",
            "created_at",
        )
        read_only_fields = fields


class WebhookSerializer(DocumentSerializer):
    url = WebhookURLField()
    events = serializers.ListField(
        child=serializers.ChoiceField(Event.choices), min_length=1, max_length=len(Event)
    )

    class Meta:
        model = Webhook
        fields = ("id", "url", "events", "enabled", "created_at", "updated_at")

    def validate_events(self, events: list[str]) -> list[str]:
        return list(dict.fromkeys(events))


class WebhookDetailSerializer(WebhookSerializer):
    """A webhook with its latest deliveries, the newest first."""

    deliveries = DeliverySerializer(many=True, read_only=True, source="latest_deliveries")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "deliveries")


class NewWebhookSerializer(WebhookSerializer):
    """A webhook with the secret that signs what is sent to it. The secret is shown this once."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")
