"""Which delivery is sent next: tenants in turn, so that none waits for the slow endpoints of others."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator

from bson import ObjectId

from core.jobs.set_aside import setting_aside
from tenants.models import WebhookDelivery

#: Attempts at a time: in all, of one tenant, and to all slow endpoints. To each endpoint there is one.
THREADS = 16
TENANT_THREADS = 2
SLOW_THREADS = 8

#: An endpoint whose last attempt failed, or took longer than this, is slow until one succeeds sooner.
SLOW_SECONDS = 2.0
MAX_SLOW = 10_000

#: How often an empty queue is read again while attempts are running.
POLL_SECONDS = 0.5


class FairQueue:
    """The deliveries that are due, thread-safe. Who takes one calls `done` after the attempt.

    A tenant with any number of deliveries, endpoints or failures takes `TENANT_THREADS` of the threads, and
    all slow endpoints together `SLOW_THREADS`; the rest is left to endpoints that respond.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._turn: deque[ObjectId] = deque()
        self._running: Counter[ObjectId] = Counter()
        self._webhooks: set[ObjectId] = set()
        #: Slow webhooks with their tenants, the oldest first.
        self._slow: OrderedDict[ObjectId, ObjectId] = OrderedDict()
        self._empty_until = 0.0

    def take(self) -> WebhookDelivery | None:
        """Claim a delivery; None if none is due that may be sent beside those that are being sent."""
        with self._changed:
            if time.monotonic() < self._empty_until:
                return None
            for tenant_id in self._tenants():
                if delivery := self._claim(tenant_id):
                    self._running[tenant_id] += 1
                    self._webhooks.add(delivery.webhook_id)
                    return delivery
            self._empty_until = time.monotonic() + POLL_SECONDS
            return None

    def done(self, delivery: WebhookDelivery, *, slow: bool) -> None:
        """The attempt is over; `slow`: it failed or took long."""
        with self._changed:
            self._running[delivery.tenant_id] -= 1
            self._running += Counter()  # drops those at 0
            self._webhooks.discard(delivery.webhook_id)
            self._slow.pop(delivery.webhook_id, None)
            if slow:
                self._slow[delivery.webhook_id] = delivery.tenant_id
                if len(self._slow) > MAX_SLOW:
                    self._slow.popitem(last=False)
            self._empty_until = 0.0
            self._changed.notify_all()

    def wait(self) -> bool:
        """Return once another look may find a delivery; False at once if no attempt is running."""
        with self._changed:
            if not self._running:
                return False
            self._changed.wait(POLL_SECONDS)
            return True

    def _tenants(self) -> Iterator[ObjectId]:
        """Yield tenants with due deliveries that may have another attempt: the rest of the turn, then all."""
        for _ in range(2):
            while self._turn:
                tenant_id = self._turn.popleft()
                if self._running[tenant_id] < TENANT_THREADS:
                    yield tenant_id
            self._turn.extend(WebhookDelivery.objects.due_tenants())

    def _claim(self, tenant_id: ObjectId) -> WebhookDelivery | None:
        excluded = set(self._webhooks)
        if len(self._webhooks & self._slow.keys()) >= SLOW_THREADS:
            excluded |= {webhook_id for webhook_id, owner in self._slow.items() if owner == tenant_id}
        with setting_aside("deliver_webhooks", f"tenant {tenant_id}", tenant_id):
            return WebhookDelivery.objects.claim(tenant_id=tenant_id, except_to=excluded)
        return None
