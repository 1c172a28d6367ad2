"""Roll up the metrics of all time that is over, so that the first request for a long period is fast."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from chat.analytics import rollups
from chat.analytics.periods import Period, Span, floor_quarter, zone_named
from core.jobs.set_aside import serve_each
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Roll up the analytics of all tenants, or recount and repair roll-ups."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenant", action="append", help="Id of a tenant; repeat for more. Default: all."
        )
        parser.add_argument(
            "--tz",
            action="append",
            help="Time zone whose days and months are stored; repeat for more. Default: UTC.",
        )
        parser.add_argument(
            "--verify", action="store_true", help="Recount from the messages; report and repair differences."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        zones = [_zone(name) for name in options["tz"] or ["UTC"]]
        outcome = serve_each(
            "rollup_analytics",
            _tenants(options["tenant"]),
            lambda tenant_id: self._serve(tenant_id, zones, verify=options["verify"]),
            key=str,
            tenant=lambda tenant_id: tenant_id,
        )
        problems = [outcome.problem] if outcome.problem else []
        if differing := sum(outcome.results):
            problems.append(f"{differing} quarter hours differed from their messages. They are repaired.")
        if problems:
            raise CommandError(" ".join(problems))

    def _serve(self, tenant_id: ObjectId, zones: list[ZoneInfo], *, verify: bool) -> int:
        """Roll up one tenant; return how many quarter hours differed from their messages."""
        found = rollups.verify(tenant_id) if verify else 0
        if verify:
            self.stdout.write(f"{tenant_id}: {found} quarter hours differed")
        self._roll_up(tenant_id, zones)
        return found

    def _roll_up(self, tenant_id: ObjectId, zones: list[ZoneInfo]) -> None:
        first = rollups.first_activity(tenant_id)
        if first is None:
            return
        span = Span(floor_quarter(first), timezone.now())
        for zone in zones:
            rollups.refresh(tenant_id, Period(span, "day", zone))
        covered = rollups.coverage(tenant_id)
        if covered:
            self.stdout.write(f"{tenant_id}: rolled up until {covered.end:%Y-%m-%d %H:%M}")


def _zone(name: str) -> ZoneInfo:
    zone = zone_named(name)
    if zone is None:
        raise CommandError(f"{name}: no such time zone.")
    return zone


def _tenants(wanted: list[str] | None) -> list[ObjectId]:
    if wanted is None:
        return list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    for text in wanted:
        if not ObjectId.is_valid(text):
            raise CommandError(f"{text}: not the id of a tenant.")
    ids = [ObjectId(text) for text in wanted]
    known = set(Tenant.objects.filter(pk__in=ids).values_list("pk", flat=True))
    if missing := [text for text in wanted if ObjectId(text) not in known]:
        raise CommandError(f"{', '.join(missing)}: no such tenant.")
    return ids
