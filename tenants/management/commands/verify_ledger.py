"""Compare every tenant's usage with the ledger."""

from typing import Any

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.audit.models import SYSTEM, AuditEvent
from tenants.billing.ledger import Drift
from tenants.models import LedgerEntry, Tenant


class Command(BaseCommand):
    help = "Compare every tenant's usage with the ledger; fails when they differ."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="set usage to the sums of the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        drifts = list(LedgerEntry.objects.drift())
        for drift in drifts:
            self.stdout.write(
                f"tenant {drift.tenant_id} {drift.month} {drift.counter}: "
                f"counted {drift.counted}, expected {drift.expected}"
            )
        if options["repair"]:
            drifts = self._repair(drifts)
        if drifts:
            raise CommandError(f"drift: {len(drifts)} counters differ")
        self.stdout.write("drift: 0")

    def _repair(self, drifts: list[Drift]) -> list[Drift]:
        for tenant_id in {drift.tenant_id for drift in drifts}:
            done = LedgerEntry.objects.rebuild(tenant_id)
            if done:
                self._record(tenant_id, drifts)
            self.stdout.write(f"tenant {tenant_id}: {'rebuilt' if done else 'has running turns, skipped'}")
        return list(LedgerEntry.objects.drift())

    def _record(self, tenant_id: ObjectId, drifts: list[Drift]) -> None:
        changes = {
            f"{drift.month} {drift.counter}": (drift.counted, drift.expected)
            for drift in drifts
            if drift.tenant_id == tenant_id
        }
        tenant = Tenant.objects.get(pk=tenant_id)
        AuditEvent.objects.record(SYSTEM, "usage.rebuilt", tenant, tenant_id=tenant.pk, changes=changes)
