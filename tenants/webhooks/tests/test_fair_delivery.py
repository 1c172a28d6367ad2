"""Deliveries are fair: no tenant waits for another's slow, failing or impossible endpoints."""

from __future__ import annotations

import threading

import pytest
from django.utils import timezone

from core.jobs.models import SetAside
from qa.testing.concurrency import in_background
from qa.testing.tenants import by
from qa.testing.waiting import wait_until
from tenants.models import Webhook, WebhookDelivery
from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.fair_queue import SLOW_THREADS, TENANT_THREADS, FairQueue
from tenants.webhooks.sender import DeliveryFailed, Sender

Status = WebhookDelivery.Status


def hook(tenant, user, number: int = 0) -> Webhook:
    url = f"https://{number}.{tenant.slug}.example/"
    return Webhook.objects.register(tenant, by=by(user), url=url, events=[]).webhook


def enqueue(webhook: Webhook, count: int = 1) -> None:
    for number in range(count):
        webhook.enqueue("webhook.test", {}, dedup_key=f"test:{number}")


class BlockingSender(Sender):
    """Sends to hosts whose name has "umbrella" in it only once `opened` is set; counts attempts at a time."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.blocked = 0

    def send(self, url: str, secret: str, message_id: str, body: str) -> int:
        if "umbrella" in url:
            self.blocked += 1
            self.opened.wait(60)
            self.blocked -= 1
        return 200


def is_delivered(webhook: Webhook) -> bool:
    return webhook.deliveries.filter(status=Status.DELIVERED).exists()


def test_a_delivery_does_not_wait_for_the_slow_endpoints_of_another_tenant(acme, alice, umbrella, mallory):
    for number in range(10):
        enqueue(hook(umbrella, mallory, number), 3)
    sender = BlockingSender()
    waiting = in_background(lambda: deliver_due(sender))
    wait_until(lambda: sender.blocked == TENANT_THREADS, "the slow endpoints are called")

    mine = hook(acme, alice)
    enqueue(mine)

    wait_until(lambda: is_delivered(mine), "the other tenant's event is delivered")
    assert sender.blocked == TENANT_THREADS
    sender.opened.set()
    assert waiting() == 31


def test_an_endpoint_gets_one_request_at_a_time(umbrella, mallory):
    enqueue(hook(umbrella, mallory), 5)
    sender = BlockingSender()
    waiting = in_background(lambda: deliver_due(sender))
    wait_until(lambda: sender.blocked == 1, "the endpoint is called")
    assert FairQueue().take() is not None, "only this sender waits"
    sender.opened.set()
    assert waiting() == 4


def test_tenants_are_served_in_turn(acme, alice, umbrella, mallory):
    for number in range(3):
        enqueue(hook(umbrella, mallory, number), 3)
    enqueue(hook(acme, alice))
    queue = FairQueue()
    taken = [queue.take() for _ in range(2)]
    assert {delivery.tenant_id for delivery in taken} == {acme.pk, umbrella.pk}


def test_slow_endpoints_take_a_part_of_the_threads(acme, alice, umbrella, mallory):
    queue = FairQueue()
    slow = hook(umbrella, mallory)
    enqueue(slow, 2)
    queue.done(queue.take(), slow=True)
    busy = {Webhook(pk=number).pk for number in range(SLOW_THREADS)}
    queue._slow.update(dict.fromkeys(busy, acme.pk))
    queue._webhooks |= busy
    assert queue.take() is None
    enqueue(hook(acme, alice))
    queue._empty_until = 0.0
    assert queue.take().tenant_id == acme.pk


@pytest.mark.parametrize("error", [UnicodeError("label empty"), ValueError, RuntimeError, MemoryError])
def test_whatever_sending_raises_is_a_failed_attempt(acme, alice, umbrella, mallory, error):
    class FailingSender(Sender):
        def send(self, url: str, *_: str) -> int:
            if "umbrella" in url:
                raise error
            return 200

    bad, good = hook(umbrella, mallory), hook(acme, alice)
    enqueue(bad)
    enqueue(good)
    assert deliver_due(FailingSender()) == 2
    assert is_delivered(good)
    failed = bad.deliveries.get()
    assert (failed.status, failed.attempts, failed.claim) == (Status.PENDING, 1, None)
    assert failed.problem == "The request could not be made."
    assert failed.due_at > timezone.now()


@pytest.mark.parametrize(
    "url", ["https://a..b/", "https://" + "a" * 300 + ".com/", "https://.../", "https://x:y/"]
)
def test_an_address_stored_by_an_earlier_version_fails_as_an_attempt(acme, alice, url):
    webhook = hook(acme, alice)
    Webhook.objects.filter(pk=webhook.pk).update(url=url)
    enqueue(webhook)
    deliver_due(Sender())
    assert webhook.deliveries.get().attempts == 1
    assert webhook.deliveries.get().due_at > timezone.now()


@pytest.mark.parametrize(
    "poison",
    [{"attempts": "many"}, {"body": None}, {"webhook_id": 7}, {"tenant_id": "x"}, {"claim": 7, "body": 3}],
    ids=str,
)
def test_a_delivery_that_cannot_be_read_spoils_no_other(acme, alice, umbrella, mallory, poison):
    bad, good = hook(umbrella, mallory), hook(acme, alice)
    enqueue(bad)
    enqueue(good)
    WebhookDelivery.collection().update_one({"webhook_id": bad.pk}, {"$set": poison})
    sender = BlockingSender()
    sender.opened.set()
    deliver_due(sender)
    assert is_delivered(good)


def test_a_delivery_whose_failure_cannot_be_recorded_is_set_aside(acme, alice, monkeypatch):
    class FailingSender(Sender):
        def __init__(self) -> None: ...

        def send(self, *_: str) -> int:
            raise DeliveryFailed("no")

    def failed(*_: object) -> bool:
        raise ValueError

    monkeypatch.setattr(WebhookDelivery, "failed", failed)
    enqueue(hook(acme, alice))
    deliver_due(FailingSender())
    assert SetAside.objects.get().work == "deliver_webhooks"
