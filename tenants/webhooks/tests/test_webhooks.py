"""Webhooks, from registration to the last attempt."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from standardwebhooks import Webhook as Verifier

from core.audit.models import AuditEvent
from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, issue, limited, problem, signed_in
from qa.testing.waiting import wait_until
from tenants.billing import alerts
from tenants.billing.tests.test_alerts import NOW, use
from tenants.models import Webhook, WebhookDelivery
from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.models import LEASE, MAX_WEBHOOKS, RETRY_DELAYS, Event
from tenants.webhooks.sender import Sender
from tenants.webhooks.tests.https_server import Receiver, answering

Status = WebhookDelivery.Status


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    with Receiver(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture
def sender(receiver):
    """A sender that resolves the receiver's host to loopback and trusts its certificate."""
    receiver.received.clear()
    receiver.answers.clear()
    trusted = ssl.create_default_context(cafile=receiver.certificate)
    return Sender(resolve=lambda host, port: ["127.0.0.1"], tls=trusted)


@pytest.fixture
def admin(alice):
    return signed_in(alice)


@pytest.fixture
def hooks(acme) -> str:
    return f"/api/tenants/{acme.pk}/webhooks"


def register(tenant, user, receiver, events=tuple(Event.values)):
    return Webhook.objects.register(tenant, by=by(user), url=receiver.url, events=list(events))


# -- the API ---------------------------------------------------------------------


def test_the_secret_is_shown_once(admin, acme, hooks):
    made = admin.post(hooks, {"url": "https://hooks.example.com/x", "events": ["api_key.issued"]})

    assert made.status_code == 201, made.content
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    assert made["Cache-Control"] == "no-store"
    shown = admin.get(made["Location"])
    assert secret not in shown.content.decode()
    assert secret not in admin.get(hooks).content.decode()
    stored = str(Webhook.collection().find_one({}))
    assert secret not in stored
    assert secret.removeprefix("whsec_") not in stored
    assert Webhook.objects.get().secret == secret


def test_a_webhook_is_changed_and_deleted(admin, acme, alice, receiver):
    webhook = register(acme, alice, receiver).webhook
    path = f"/api/tenants/{acme.pk}/webhooks/{webhook.pk}"

    changed = admin.patch(path, {"enabled": False, "events": ["api_key.revoked"]})
    assert (changed.status_code, changed.json()["enabled"]) == (200, False)
    assert changed.json()["events"] == ["api_key.revoked"]

    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404
    actions = AuditEvent.objects.filter(tenant_id=acme.pk, target_type="webhook").values_list(
        "action", flat=True
    )
    assert set(actions) == {"webhook.created", "webhook.changed", "webhook.deleted"}


@pytest.mark.parametrize("role", ["dave", "bob"])
def test_only_admins_see_and_change_webhooks(request, acme, alice, receiver, role):
    client = signed_in(request.getfixturevalue(role))
    path = f"/api/tenants/{acme.pk}/webhooks"
    one = f"{path}/{register(acme, alice, receiver).webhook.pk}"

    for method, where in (
        ("get", path),
        ("post", path),
        ("get", one),
        ("patch", one),
        ("delete", one),
        ("post", f"{one}/test"),
    ):
        assert problem(getattr(client, method)(where), 403) == "permission_denied"


def test_another_tenants_webhook_is_not_found(acme, alice, umbrella, mallory, receiver):
    theirs = register(acme, alice, receiver).webhook
    client = signed_in(mallory)
    for tenant in (acme, umbrella):
        path = f"/api/tenants/{tenant.pk}/webhooks/{theirs.pk}"
        assert problem(client.get(path), 404) == "not_found"
        assert problem(client.patch(path, {"enabled": False}), 404) == "not_found"
        assert problem(client.delete(path), 404) == "not_found"
        assert problem(client.post(f"{path}/test"), 404) == "not_found"
    assert Webhook.objects.get().enabled


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "//hooks.example.com/",
        "https://",
        "https:///path",
        "https://user:password@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://[::1",
        "https://127.0.0.1/",
        "https://localhost:8443/",
        "https://api.localhost/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://hööks.example.com/",
        "https://a..b/",
        "https://.../",
        "https://.example.com/",
        "https://hooks..example.com./",
        "https://" + "a" * 300 + ".com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 200 + "com/",
        "https://xn--/",
        "https://-a.com/",
        "https://a-.com/",
        "https://a%b.com/",
        "https://[fe80::1%25eth0]/",
        7,
        "https://hooks.example.com/" + "x" * 500,
    ],
)
def test_invalid_urls_are_refused(admin, hooks, url):
    assert problem(admin.post(hooks, {"url": url, "events": ["api_key.issued"]}), 400) == "invalid"


@pytest.mark.parametrize("events", [[], ["everything"], "api_key.issued", ["webhook.test"]])
def test_unknown_events_are_refused(admin, hooks, events):
    assert problem(admin.post(hooks, {"url": "https://hooks.example.com/", "events": events}), 400)


def test_the_number_of_webhooks_is_limited(admin, hooks):
    body = {"url": "https://hooks.example.com/", "events": ["api_key.issued"]}
    for _ in range(MAX_WEBHOOKS):
        assert admin.post(hooks, body).status_code == 201
    assert problem(admin.post(hooks, body), 409) == "too_many_webhooks"


# -- events ------------------------------------------------------------------------


def test_a_test_event_is_delivered_and_shown(admin, acme, alice, receiver, sender):
    new = register(acme, alice, receiver, ["api_key.issued"])
    path = f"/api/tenants/{acme.pk}/webhooks/{new.webhook.pk}"
    queued = admin.post(f"{path}/test")
    assert (queued.status_code, queued.json()["status"]) == (202, "pending")

    deliver_due(sender)

    ((headers, body),) = receiver.received
    assert Verifier(new.secret).verify(body, headers)["type"] == "webhook.test"
    (shown,) = admin.get(path).json()["deliveries"]
    assert (shown["status"], shown["response_status"], shown["attempts"]) == ("delivered", 204, 1)


def test_usage_thresholds_are_delivered_once(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    limited(acme, messages_per_month=10)
    use(acme, 8)
    alerts.send_due(NOW)
    alerts.send_due(NOW)
    deliver_due(sender)

    (delivered,) = receiver.bodies()
    assert delivered["type"] == "usage.threshold_reached"
    assert delivered["data"]["percent"] == 80
    assert (delivered["data"]["name"], delivered["data"]["used"], delivered["data"]["limit"]) == (
        "messages_per_month",
        8,
        10,
    )


def test_an_alert_that_could_not_be_mailed_is_not_delivered_again(acme, alice, receiver, sender, settings):
    register(acme, alice, receiver)
    limited(acme, messages_per_month=1)
    use(acme, 1)
    working, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # no server listens there
    assert alerts.send_due(NOW) == []
    settings.EMAIL_BACKEND = working
    assert len(alerts.send_due(NOW)) == 1

    deliver_due(sender)

    assert len(receiver.received) == 1


def test_events_of_keys_are_delivered_without_secrets(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    issued = issue(acme, alice)
    rotated = issued.key.rotate(overlap=timedelta(hours=1), by=by(alice))
    rotated.key.revoke(by(alice))
    deliver_due(sender)

    delivered = {body["type"]: body["data"] for body in receiver.bodies()}
    assert set(delivered) == {"api_key.issued", "api_key.rotated", "api_key.revoked"}
    assert delivered["api_key.issued"]["api_key"]["id"] == str(issued.key.pk)
    assert delivered["api_key.issued"]["actor"] == "alice@example.com"
    everything = str(receiver.received)
    assert issued.secret not in everything
    assert rotated.secret not in everything


def test_only_registered_events_of_the_own_tenant_are_delivered(
    acme, alice, umbrella, mallory, receiver, sender
):
    register(acme, alice, receiver, ["api_key.revoked"])
    register(umbrella, mallory, receiver)
    issue(acme, alice)
    deliver_due(sender)

    assert receiver.received == []


def test_a_disabled_webhook_gets_nothing(acme, alice, receiver, sender):
    webhook = register(acme, alice, receiver).webhook
    issue(acme, alice)
    webhook.change(by(alice), enabled=False)
    issue(acme, alice)
    deliver_due(sender)

    assert receiver.received == []
    assert [delivery.status for delivery in WebhookDelivery.objects.all()] == [Status.GIVEN_UP]


# -- attempts ------------------------------------------------------------------------


def test_a_failed_delivery_is_retried_after_each_delay_and_then_given_up(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    with time_machine.travel(now, tick=False) as clock:
        issue(acme, alice)
        receiver.answers = [answering(500)] * (1 + len(RETRY_DELAYS))
        deliver_due(sender)
        for number, pause in enumerate(RETRY_DELAYS, 1):
            clock.shift(pause - timedelta(milliseconds=1))
            deliver_due(sender)
            assert len(receiver.received) == number
            clock.shift(timedelta(milliseconds=1))
            deliver_due(sender)
            assert len(receiver.received) == number + 1
        clock.shift(timedelta(days=2))
        deliver_due(sender)

    assert len(receiver.received) == 1 + len(RETRY_DELAYS)
    delivery = WebhookDelivery.objects.get()
    assert (delivery.status, delivery.problem) == (Status.GIVEN_UP, "The response had status 500.")
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert len({body for _, body in receiver.received}) == 1


def test_a_delivery_that_succeeds_on_retry_is_delivered(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    with time_machine.travel(datetime(2026, 11, 22, 12, tzinfo=UTC), tick=False) as clock:
        issue(acme, alice)
        receiver.answers = [answering(503)]
        deliver_due(sender)
        clock.shift(RETRY_DELAYS[0])
        deliver_due(sender)

    delivery = WebhookDelivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.problem) == (Status.DELIVERED, 2, "")


def test_concurrent_loops_deliver_once(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    for _ in range(20):
        issue(acme, alice)

    counts = run_concurrently(*[lambda: deliver_due(sender)] * 4)

    assert sum(counts) == 20
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 20
    assert len(receiver.received) == 20


def test_deliveries_claimed_by_a_dead_worker_are_taken_over(acme, alice, receiver, sender):
    register(acme, alice, receiver)
    issue(acme, alice)
    dead = WebhookDelivery.objects.claim()
    now = timezone.now()

    assert deliver_due(sender) == 0
    assert WebhookDelivery.objects.claim(now + LEASE - timedelta(seconds=1)) is None
    successor = WebhookDelivery.objects.claim(now + LEASE + timedelta(seconds=1))

    assert (successor.pk, successor.attempts) == (dead.pk, 2)
    assert not dead.succeeded(200), "it is not the dead one's any more"
    assert successor.succeeded(204)


def test_an_address_that_is_not_public_is_recorded_as_the_problem(acme, alice, receiver):
    webhook = Webhook.objects.register(
        acme, by=by(alice), url=f"https://127.1:{receiver.port}/", events=["api_key.issued"]
    ).webhook
    issue(acme, alice)
    receiver.received.clear()

    deliver_due(Sender())

    assert receiver.received == []
    assert webhook.deliveries.get().problem == "The host is not on the public internet."


def test_the_command_uses_the_default_sender(acme, alice, receiver, capsys):
    Webhook.objects.register(acme, by=by(alice), url="https://10.0.0.1/", events=["api_key.issued"])
    issue(acme, alice)

    call_command("deliver_webhooks")

    assert capsys.readouterr().out == "attempts: 1\n"
    assert "not on the public internet" in WebhookDelivery.objects.get().problem


@pytest.mark.slow
def test_the_loop_delivers_until_sigterm(acme, alice, mongodb_uri):
    Webhook.objects.register(acme, by=by(alice), url="https://10.0.0.1/", events=["api_key.issued"])
    environment = os.environ | {"DJANGO_ENV": "test", "MONGODB_URI": mongodb_uri}
    command = [sys.executable, "manage.py", "deliver_webhooks", "--loop"]
    loop = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment)
    try:
        issue(acme, alice)
        wait_until(
            lambda: WebhookDelivery.objects.filter(attempts__gte=1, claim=None).exists(), "an attempt is made"
        )
        loop.terminate()
        assert loop.wait(30) == 0
    finally:
        loop.kill()
