"""Alerts to a tenant's admins, by mail and webhook, each at most once a month.

They are sent when 80 and 100 % of a limit of the month are used, and when models without a known price have
answered, whose cost no limit can include.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from bson import ObjectId
from django.core.mail import send_mail
from django.utils import timezone

from accounts.models import User, can_be_mailed
from core.jobs.set_aside import serve_each
from core.mail import has_mail_server
from tenants.billing.limits import json_amount, limit_data, month_of
from tenants.models import LedgerEntry, Membership, Tenant, Usage
from tenants.models.membership import Role
from tenants.webhooks.models import Event, Webhook

logger = logging.getLogger(__name__)

THRESHOLDS = (100, 80)  # percent, the highest first


@dataclass(frozen=True, slots=True)
class Alert:
    """`level` is a percentage of the limit `name`, or a number of models. Only a higher one is sent again."""

    tenant: Tenant
    name: str
    level: int
    event: Event
    data: dict[str, Any]
    subject: str
    text: str


class Sending(NamedTuple):
    """Alerts that were sent, and a sentence about the tenants that were set aside, "" without any."""

    sent: list[Alert]
    problem: str


def send_due(now: datetime | None = None) -> list[Alert]:
    """Send every alert that is due and return those sent. One that can't be mailed stays due."""
    return send_each_due(now).sent


def send_each_due(now: datetime | None = None) -> Sending:
    """Send every alert that is due. A tenant whose alerts cannot be determined or sent is set aside."""
    moment = now or timezone.now()
    sent: list[Alert] = []

    def send_due_of(tenant_id: ObjectId) -> None:
        usage = Usage.objects.prefetch_related("tenant__plan").get(pk=tenant_id)
        sent.extend(alert for alert in _due(usage, moment) if _send(alert, usage, moment))

    tenants = (row["_id"] for row in Usage.collection().find({"months": {"$ne": {}}}, {"_id": 1}))
    outcome = serve_each(
        "send_usage_alerts", tenants, send_due_of, key=str, tenant=lambda tenant_id: tenant_id
    )
    return Sending(sent, outcome.problem)


def _due(usage: Usage, now: datetime) -> Iterator[Alert]:
    """Yield the alerts whose level is higher than any that was sent this month."""
    if usage.tenant.deleted_at is not None:
        return
    sent = usage.alerts.get(month_of(now), {})
    for alert in (*_thresholds(usage, now), *_unpriced(usage.tenant, now)):
        if sent.get(alert.name, 0) < alert.level:
            yield alert


def _send(alert: Alert, usage: Usage, now: datetime) -> bool:
    """Return whether the alert was mailed. False if a concurrent sender has sent it, or the mail failed."""
    # First, because it may be repeated: a webhook gets each level once a month.
    _enqueue(alert, now)
    path = f"alerts.{month_of(now)}.{alert.name}"
    before = usage.alerts.get(month_of(now), {}).get(alert.name)
    # Claimed before it is mailed: of concurrent senders only one finds the level that it has read.
    claim = {"_id": usage.pk, path: {"$exists": False} if before is None else before}
    if not Usage.collection().update_one(claim, {"$set": {path: alert.level}}).modified_count:
        return False
    try:
        _mail(alert)
    except Exception as error:  # Whatever it is, the claim is undone first.
        undo = {"$unset": {path: ""}} if before is None else {"$set": {path: before}}
        Usage.collection().update_one({"_id": usage.pk}, undo)
        if not isinstance(error, OSError):
            raise
        logger.exception("a usage alert could not be mailed")
        return False
    return True


def _thresholds(usage: Usage, now: datetime) -> Iterator[Alert]:
    """Yield for each limit of the month the highest threshold that is reached."""
    for limit in usage.limit_usages(now):
        if not limit.name.endswith("_per_month") or not limit.limit:
            continue
        percent = next((p for p in THRESHOLDS if limit.used * 100 >= limit.limit * p), None)
        if percent is None:
            continue
        tenant, what = _single_line(usage.tenant.name), limit.name.replace("_", " ")
        yield Alert(
            usage.tenant,
            limit.name,
            percent,
            Event.USAGE_THRESHOLD,
            {**limit_data(limit), "percent": percent, "month": month_of(now)},
            f"{tenant}: {percent} % of {what} used",
            f"{tenant} has used {json_amount(limit.used)} of {json_amount(limit.limit)} {what}. "
            f"The limit resets on {limit.resets_at:%Y-%m-%d} (UTC).",
        )


def _unpriced(tenant: Tenant, now: datetime) -> Iterator[Alert]:
    """Yield one alert for the models that answered this month and have no known price, if any."""
    month = month_of(now)
    answers = LedgerEntry.objects.filter(tenant=tenant, month=month, outcome="ok", cost=None)
    models = sorted({f"{provider}/{model}" for provider, model in answers.values_list("provider", "model")})
    if models:
        name = _single_line(tenant.name)
        yield Alert(
            tenant,
            "unpriced",
            len(models),
            Event.USAGE_UNPRICED,
            {"models": models, "month": month},
            f"{name}: answers without a known price",
            f"{name} got answers from models without a known price: {', '.join(models)}. "
            "Their cost is missing in usage and analytics and is not limited. "
            "Add prices to the catalogue, or choose other models.",
        )


def _single_line(name: str) -> str:
    """A mail's subject must not have line breaks."""
    return " ".join(name.split())


def _enqueue(alert: Alert, now: datetime) -> None:
    dedup_key = f"usage:{month_of(now)}:{alert.name}:{alert.level}"
    Webhook.objects.enqueue_event(alert.tenant, alert.event, alert.data, dedup_key=dedup_key)


def _mail(alert: Alert) -> None:
    if not has_mail_server():
        return  # Its webhook is sent all the same.
    admins = Membership.objects.filter(tenant=alert.tenant, role=Role.ADMIN).order_by()
    users = User.objects.filter(pk__in=list(admins.values_list("user_id", flat=True)), is_active=True)
    send_mail(alert.subject, alert.text, None, [user.email for user in users if can_be_mailed(user.email)])
