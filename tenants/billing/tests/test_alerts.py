"""Usage alerts to admins: at 80 and 100 %, once a month each."""

from datetime import UTC, datetime
from decimal import Decimal

from bson import ObjectId
from django.core import mail

from qa.testing.concurrency import run_concurrently
from qa.testing.tenants import by, limited
from tenants.billing import alerts
from tenants.models import LedgerEntry, Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 2, tzinfo=UTC)


def use(tenant, messages, now=NOW, cost="0") -> None:
    for _ in range(messages):
        reservation = ObjectId()
        Usage.objects.admit(
            tenant, reservation_id=reservation, tokens=1, cost=Decimal(cost), lease_seconds=9, now=now
        )
        Usage.objects.settle(tenant.pk, reservation, tokens=1, cost=Decimal(cost))


def percents(now=NOW) -> list[int]:
    return [alert.level for alert in alerts.send_due(now)]


def test_alerts_are_sent_at_80_and_100_percent_once_each(acme):
    limited(acme, messages_per_month=10)
    use(acme, 7)
    assert percents() == []

    use(acme, 1)
    assert percents() == [80]
    assert percents() == []

    use(acme, 2)
    assert percents() == [100]
    assert percents() == []


def test_the_mail_says_what_is_used(acme):
    limited(acme, cost_per_month=Decimal("0.5"))
    use(acme, 1, cost="0.45")
    alerts.send_due(NOW)

    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert "80 % of cost per month" in message.subject
    assert "0.45 of 0.5" in message.body
    assert "2026-12-01" in message.body


def test_a_limit_that_is_used_up_at_once_is_reported_once(acme):
    limited(acme, messages_per_month=2)
    use(acme, 2)

    assert percents() == [100]


def test_a_new_month_is_reported_again(acme):
    limited(acme, messages_per_month=1)
    use(acme, 1)
    assert percents() == [100]

    use(acme, 1, now=DECEMBER)

    assert percents(DECEMBER) == [100]


def test_later_turns_do_not_reset_what_was_sent(acme):
    limited(acme, messages_per_month=10)
    use(acme, 8)
    assert percents() == [80]

    use(acme, 1)

    assert percents() == []


def test_concurrent_senders_send_one_mail(acme):
    limited(acme, messages_per_month=1)
    use(acme, 1)

    outcomes = run_concurrently(*[lambda: alerts.send_due(NOW)] * 5)

    assert sum(len(sent) for sent in outcomes) == 1
    assert len(mail.outbox) == 1


def test_an_alert_that_can_not_be_mailed_is_due_again(acme, settings):
    limited(acme, messages_per_month=1)
    use(acme, 1)
    working, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # no server listens there
    assert percents() == []

    settings.EMAIL_BACKEND = working

    assert percents() == [100]


def test_deleted_tenants_and_unlimited_plans_get_no_alerts(acme, umbrella, alice):
    limited(acme, messages_per_month=1)
    limited(umbrella)
    use(acme, 1)
    use(umbrella, 3)
    acme.soft_delete(by(alice))

    assert percents() == []


def answered_unpriced(tenant, model: str) -> None:
    LedgerEntry.objects.create(
        tenant=tenant,
        month="2026-11",
        reply=ObjectId(),
        provider="groq",
        model=model,
        outcome="ok",
        cost=None,
    )


def test_models_without_a_price_are_reported_once_and_again_with_another_model(acme):
    limited(acme)
    use(acme, 1)
    answered_unpriced(acme, "new-model")
    answered_unpriced(acme, "new-model")

    (alert,) = alerts.send_due(NOW)
    assert alert.data["models"] == ["groq/new-model"]
    assert "groq/new-model" in mail.outbox[-1].body
    assert alerts.send_due(NOW) == []

    answered_unpriced(acme, "another")
    (alert,) = alerts.send_due(NOW)
    assert alert.data["models"] == ["groq/another", "groq/new-model"]
    assert alerts.send_due(DECEMBER) == []
