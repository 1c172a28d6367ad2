"""Sends the deliveries that are due. Any number of processes may run it: each delivery is claimed first."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from core.jobs.set_aside import setting_aside
from core.mongo.engine.errors import is_unreachable
from tenants.models import Tenant, Webhook, WebhookDelivery
from tenants.webhooks.fair_queue import SLOW_SECONDS, THREADS, FairQueue
from tenants.webhooks.sender import DeliveryFailed, Sender

logger = logging.getLogger(__name__)


def deliver_due(sender: Sender, stop: threading.Event | None = None) -> int:
    """Send until no delivery is due or `stop` is set; return the number of attempts."""
    if not WebhookDelivery.objects.due_tenants():
        return 0
    queue, stopped = FairQueue(), stop or threading.Event()
    with ThreadPoolExecutor(THREADS, "webhooks") as pool:
        return sum(pool.map(lambda _: _deliver_until_idle(queue, sender, stopped), range(THREADS)))


def _deliver_until_idle(queue: FairQueue, sender: Sender, stop: threading.Event) -> int:
    count = 0
    try:
        while not stop.is_set():
            if delivery := queue.take():
                _attempt(queue, delivery, sender)
                count += 1
            elif not queue.wait():
                break
    finally:
        connection.close()
    return count


def _attempt(queue: FairQueue, delivery: WebhookDelivery, sender: Sender) -> None:
    began, succeeded = time.monotonic(), False
    try:
        # If not even its failure can be recorded, it is due again when the claim ends.
        with setting_aside("deliver_webhooks", delivery.pk, delivery.tenant_id):
            succeeded = deliver(delivery, sender)
    finally:
        queue.done(delivery, slow=not succeeded or time.monotonic() - began > SLOW_SECONDS)


def deliver(delivery: WebhookDelivery, sender: Sender) -> bool:
    """Make one attempt to send a claimed delivery and record its result; return whether it was delivered."""
    webhook = Webhook.objects.filter(pk=delivery.webhook_id, enabled=True).first()
    if webhook is None or not Tenant.objects.present().filter(pk=delivery.tenant_id).exists():
        delivery.give_up("The webhook is switched off.")
        return True
    try:
        status = sender.send(webhook.url, webhook.secret, delivery.message_id, delivery.body)
    except DeliveryFailed as error:
        delivery.failed(str(error), error.status)
        logger.info("webhook delivery failed", extra={"delivery": str(delivery.pk), "problem": str(error)})
        return False
    except Exception as error:  # Whatever else sending raises is a failed attempt: others must not wait.
        if is_unreachable(error):
            raise
        logger.exception("webhook could not be sent", extra={"delivery": str(delivery.pk)})
        delivery.failed("The request could not be made.")
        return False
    return delivery.succeeded(status)
