"""Webhooks as JSON."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from rest_framework import serializers

from core.api.serializers import BoundedListField, DocumentSerializer
from tenants.models import Webhook, WebhookDelivery
from tenants.webhooks.addresses import is_public
from tenants.webhooks.models import Event


class WebhookURLField(serializers.CharField):
    """`https://host[:port]/path`, used unchanged."""

    default_error_messages = {
        "not_https": "Write a URL such as https://hooks.example.com/chat, without user, password or #.",
        "not_public": "This address is not on the public internet.",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=500, **options)

    def to_internal_value(self, data: Any) -> str:
        url: str = super().to_internal_value(data)
        host = _https_host(url)
        if not host:
            self.fail("not_https")
        if _is_private_literal(host):
            self.fail("not_public")
        return url


def _https_host(url: str) -> str | None:
    """Return the host of a valid https URL without user, password and fragment, else None."""
    try:
        parts = urlsplit(url)
        is_valid = (
            parts.scheme == "https"
            and parts.port != 0
            and "@" not in parts.netloc
            and "#" not in url
            and url.isascii()
            and url.isprintable()
            and not set(url) & set(' "<>\\^`{|}')
        )
    except ValueError:  # not a URL, or an invalid port
        return None
    return parts.hostname if is_valid and _is_host(parts.hostname or "") else None


#: A label of a host name: at most 63 letters, digits, hyphens, and underscores, which some receivers have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_HOST_LENGTH = 253


def _is_host(host: str) -> bool:
    """Whether `host` is an IP address, or a name that can be looked up."""
    try:
        ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return len(host) <= _MAX_HOST_LENGTH and all(map(_LABEL.fullmatch, labels)) and _is_idna(host)
    return True


def _is_idna(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _is_private_literal(host: str) -> bool:
    """Whether the host is written as an address that is not public. Names are resolved when sending."""
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
    events = BoundedListField(
        child=serializers.ChoiceField(Event.choices), min_length=1, max_length=len(Event)
    )

    class Meta:
        model = Webhook
        fields: tuple[str, ...] = ("id", "url", "events", "enabled", "created_at", "updated_at")

    def validate_events(self, events: list[str]) -> list[str]:
        return list(dict.fromkeys(events))


class WebhookDetailSerializer(WebhookSerializer):
    """A webhook with its latest deliveries, newest first."""

    deliveries = DeliverySerializer(many=True, read_only=True, source="latest_deliveries")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "deliveries")


class NewWebhookSerializer(WebhookSerializer):
    """A new webhook with the secret of its signatures, which is not shown again."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")
