"""Compare every tenant's usage with the ledger, and the ledger with the answers."""

from typing import Any

from bson import ObjectId
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.turns.replies import READING, SETTLEMENT
from chat.turns.verification import differences
from core.audit.models import SYSTEM, AuditEvent
from core.jobs.models import SetAside
from tenants.billing.ledger import Drift
from tenants.models import LedgerEntry, Tenant


class Command(BaseCommand):
    help = (
        "Compare every tenant's usage with the ledger, and the ledger with the stored answers; list the runs "
        "that could not be settled. Fails if there is any difference."
    )

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
        problems = [f"drift: {len(drifts)} counters differ"] if drifts else []
        if different := self._show_differences():
            problems.append(f"{different} answers are not in the ledger as they are")
        if waiting := self._show_set_aside():
            problems.append(f"{waiting} runs are set aside")
        if problems:
            raise CommandError("; ".join(problems))
        self.stdout.write("drift: 0")

    def _show_differences(self) -> int:
        count = 0
        for answer in differences():
            count += 1
            self.stdout.write(
                f"tenant {answer.tenant_id} reply {answer.reply_id}: "
                f"{answer.recorded} of {answer.attempts} calls are in the ledger, "
                f"with {answer.recorded_cost.normalize():f} of {answer.cost.normalize():f} USD"
            )
        return count

    def _show_set_aside(self) -> int:
        members = [*SetAside.objects.of(SETTLEMENT).values(), *SetAside.objects.of(READING).values()]
        for member in members:
            self.stdout.write(
                f"tenant {member.tenant_id} reply {member.member}: set aside {member.attempts} times, "
                f"next at {member.due_at:%Y-%m-%dT%H:%M:%SZ}: {member.reason}"
            )
        return len(members)

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
