"""Sending what is due. Any number of processes may do it at once: each delivery is claimed first."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from tenants.models import Tenant, Webhook, WebhookDelivery
from tenants.webhooks.sender import DeliveryFailed, Sender

logger = logging.getLogger("tenants.webhooks")

#: A slow receiver holds up one of these, not all the others.
THREADS = 8


def deliver_due(sender: Sender, stop: threading.Event | None = None) -> int:
    """Send until nothing is due any more, or `stop` is set; return how many attempts were made."""
    with ThreadPoolExecutor(THREADS, "webhooks") as pool:
        return sum(pool.map(lambda _: _work(sender, stop or threading.Event()), range(THREADS)))


def _work(sender: Sender, stop: threading.Event) -> int:
    count = 0
    try:
        while not stop.is_set() and (delivery := WebhookDelivery.objects.claim()):
            deliver(delivery, sender)
            count += 1
    finally:
        connection.close()
    return count


def deliver(delivery: WebhookDelivery, sender: Sender) -> None:
    """Make one attempt at a claimed delivery and note how it went."""
    webhook = Webhook.objects.filter(pk=delivery.webhook_id, enabled=True).first()
    if webhook is None or not Tenant.objects.present().filter(pk=delivery.tenant_id).exists():
        delivery.give_up("The webhook is switched off.")
        return
    try:
        status = sender.send(webhook.url, webhook.secret, delivery.message_id, delivery.body)
    except DeliveryFailed as error:
        delivery.failed(str(error), error.status)
        logger.info("webhook failed", extra={"delivery": str(delivery.pk), "problem": str(error)})
    else:
        delivery.succeeded(status)
