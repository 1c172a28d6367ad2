"""What a tenant's admins are told, once each in a month, by mail and webhook.

That 80 and 100 % of a limit are used, and that models without a known price have
answered, whose cost no limit can count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.mail import send_mail
from django.utils import timezone

from accounts.models import User
from tenants.billing.limits import json_amount, limit_data, month_of
from tenants.models import LedgerEntry, Membership, Tenant, Usage
from tenants.models.membership import Role
from tenants.webhooks.models import Event, Webhook

logger = logging.getLogger("tenants")

THRESHOLDS = (100, 80)  # percent, the highest first


@dataclass(frozen=True, slots=True)
class Alert:
    """`level` is what was reached of `name`: a percentage, or how many models. Only a higher one is told."""

    tenant: Tenant
    name: str
    level: int
    event: Event
    data: dict[str, Any]
    subject: str
    text: str


def send_due(now: datetime | None = None) -> list[Alert]:
    """Send every alert that is due and return those sent. One that can't be mailed is due again."""
    now = now or timezone.now()
    sent = []
    for usage in Usage.objects.exclude(months={}).prefetch_related("tenant__plan"):
        for alert in _reached(usage, now):
            # First, for it may be repeated: webhooks are told of one threshold once in a month.
            _announce(alert, now)
            path = f"alerts.{month_of(now)}.{alert.name}"
            before = usage.alerts.get(month_of(now), {}).get(alert.name)
            # Claimed before it is mailed: of two senders at once only one finds what it has read.
            claim = {"_id": usage.pk, path: {"$exists": False} if before is None else before}
            if not Usage.collection().update_one(claim, {"$set": {path: alert.level}}).modified_count:
                continue
            try:
                _mail(alert)
            except OSError:
                logger.exception("a usage alert could not be mailed")
                back = {"$unset": {path: ""}} if before is None else {"$set": {path: before}}
                Usage.collection().update_one({"_id": usage.pk}, back)
            else:
                sent.append(alert)
    return sent


def _reached(usage: Usage, now: datetime) -> Iterator[Alert]:
    """Yield what has newly come up."""
    if usage.tenant.deleted_at is not None:
        return
    told = usage.alerts.get(month_of(now), {})
    for alert in (*_thresholds(usage, now), *_unpriced(usage.tenant, now)):
        if told.get(alert.name, 0) < alert.level:
            yield alert


def _thresholds(usage: Usage, now: datetime) -> Iterator[Alert]:
    """Yield the highest threshold that each limit of the month has reached."""
    for limit in usage.limit_usages(now):
        if not limit.name.endswith("_per_month") or not limit.limit:
            continue
        percent = next((p for p in THRESHOLDS if limit.used * 100 >= limit.limit * p), None)
        if percent is None:
            continue
        tenant, what = _line(usage.tenant.name), limit.name.replace("_", " ")
        yield Alert(
            usage.tenant,
            limit.name,
            percent,
            Event.USAGE_THRESHOLD,
            {**limit_data(limit), "percent": percent, "month": month_of(now)},
            f"{tenant}: {percent} % of {what} used",
            f"{tenant} has used {json_amount(limit.used)} of {json_amount(limit.limit)} {what}. "
            f"The count starts again on {limit.resets_at:%Y-%m-%d} (UTC).",
        )


def _unpriced(tenant: Tenant, now: datetime) -> Iterator[Alert]:
    """Yield the models of this month whose price is not known, if there are any."""
    month = month_of(now)
    answers = LedgerEntry.objects.filter(tenant=tenant, month=month, outcome="ok", cost=None)
    models = sorted({f"{provider}/{model}" for provider, model in answers.values_list("provider", "model")})
    if models:
        name = _line(tenant.name)
        yield Alert(
            tenant,
            "unpriced",
            len(models),
            Event.USAGE_UNPRICED,
            {"models": models, "month": month},
            f"{name}: answers without a known price",
            f"{name} has had answers from models whose price is not known: {', '.join(models)}. "
            "Their cost is in no figure and under no limit. "
            "Add prices to the catalogue, or choose other models.",
        )


def _line(name: str) -> str:
    """A mail's subject is one line."""
    return " ".join(name.split())


def _announce(alert: Alert, now: datetime) -> None:
    dedup_key = f"usage:{month_of(now)}:{alert.name}:{alert.level}"
    Webhook.objects.enqueue_event(alert.tenant, alert.event, alert.data, dedup_key=dedup_key)


def _mail(alert: Alert) -> None:
    admins = Membership.objects.filter(tenant=alert.tenant, role=Role.ADMIN).order_by()
    people = User.objects.filter(pk__in=list(admins.values_list("user_id", flat=True)), is_active=True)
    send_mail(alert.subject, alert.text, None, [person.email for person in people])
