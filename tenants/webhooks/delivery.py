"""Sends the deliveries that are due. Any number of processes may run it: each delivery is claimed first."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from tenants.models import Tenant, Webhook, WebhookDelivery
from tenants.webhooks.sender import DeliveryFailed, Sender

logger = logging.getLogger(__name__)

#: A slow receiver blocks one of them.
THREADS = 8


def deliver_due(sender: Sender, stop: threading.Event | None = None) -> int:
    """Send until no delivery is due or `stop` is set; return the number of attempts."""
    with ThreadPoolExecutor(THREADS, "webhooks") as pool:
        return sum(pool.map(lambda _: _deliver_until_idle(sender, stop or threading.Event()), range(THREADS)))


def _deliver_until_idle(sender: Sender, stop: threading.Event) -> int:
    count = 0
    try:
        while not stop.is_set() and (delivery := WebhookDelivery.objects.claim()):
            deliver(delivery, sender)
            count += 1
    finally:
        connection.close()
    return count


def deliver(delivery: WebhookDelivery, sender: Sender) -> None:
    """Make one attempt to send a claimed delivery and record its result."""
    webhook = Webhook.objects.filter(pk=delivery.webhook_id, enabled=True).first()
    if webhook is None or not Tenant.objects.present().filter(pk=delivery.tenant_id).exists():
        delivery.give_up("The webhook is switched off.")
        return
    try:
        status = sender.send(webhook.url, webhook.secret, delivery.message_id, delivery.body)
    except DeliveryFailed as error:
        delivery.failed(str(error), error.status)
        logger.info("webhook delivery failed", extra={"delivery": str(delivery.pk), "problem": str(error)})
    else:
        delivery.succeeded(status)
