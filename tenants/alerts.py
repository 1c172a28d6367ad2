"""What a tenant is told when 80 and 100 % of a month's limit are used: once each, by mail and webhook."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.core.mail import send_mail
from django.utils import timezone

from accounts.models import User
from tenants.models import Membership, Tenant, Usage
from tenants.models.limits import Standing, as_json, month_of, plain
from tenants.models.membership import Role
from tenants.models.webhook import Event, Webhook

logger = logging.getLogger("tenants")

THRESHOLDS = (100, 80)  # percent, the highest first


@dataclass(frozen=True, slots=True)
class Alert:
    tenant: Tenant
    standing: Standing
    percent: int


def send_due(now: datetime | None = None) -> list[Alert]:
    """Send every alert that is due and return those sent. One that can't be mailed is due again."""
    now = now or timezone.now()
    sent = []
    for usage in Usage.objects.exclude(months={}).prefetch_related("tenant__plan"):
        for alert in _reached(usage, now):
            # First, for it may be repeated: webhooks are told of one threshold once in a month.
            _announce(alert, now)
            path = f"alerts.{month_of(now)}.{alert.standing.name}"
            before = usage.alerts.get(month_of(now), {}).get(alert.standing.name)
            # Claimed before it is mailed: of two senders at once only one finds what it has read.
            claim = {"_id": usage.pk, path: {"$exists": False} if before is None else before}
            if not Usage.collection().update_one(claim, {"$set": {path: alert.percent}}).modified_count:
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
    """Yield the highest threshold that each limit of the month has newly reached."""
    if usage.tenant.deleted_at is not None:
        return
    told = usage.alerts.get(month_of(now), {})
    for standing in usage.standings(now):
        if not standing.name.endswith("_per_month") or not standing.limit:
            continue
        percent = next((p for p in THRESHOLDS if standing.used * 100 >= standing.limit * p), None)
        if percent is not None and told.get(standing.name, 0) < percent:
            yield Alert(usage.tenant, standing, percent)


def _announce(alert: Alert, now: datetime) -> None:
    standing, month = alert.standing, month_of(now)
    told = {**as_json(standing), "percent": alert.percent, "month": month}
    once = f"usage:{month}:{standing.name}:{alert.percent}"
    Webhook.objects.announce(alert.tenant, Event.USAGE_THRESHOLD, told, once=once)


def _mail(alert: Alert) -> None:
    standing, tenant = alert.standing, " ".join(alert.tenant.name.split())
    admins = Membership.objects.filter(tenant=alert.tenant, role=Role.ADMIN).order_by()
    people = User.objects.filter(pk__in=list(admins.values_list("user_id", flat=True)), is_active=True)
    what = standing.name.replace("_", " ")
    send_mail(
        f"{tenant}: {alert.percent} % of {what} used",
        f"{tenant} has used {plain(standing.used)} of {plain(standing.limit)} {what}. "
        f"The count starts again on {standing.resets_at:%Y-%m-%d} (UTC).",
        None,
        [person.email for person in people],
    )
