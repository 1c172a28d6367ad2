"""Purge the tenants that were deleted more than 30 days ago."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.audit.models import SYSTEM
from core.jobs.set_aside import serve_each
from tenants.models import Erasure, Tenant
from tenants.models.erasure import ErasureScope
from tenants.purge import finish_purge, purge


class Command(BaseCommand):
    help = "Permanently remove tenants that were deleted more than 30 days ago, with everything they own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only list the tenants")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        problems = []
        if not dry_run:
            unfinished = serve_each(
                "unfinished purges",
                Erasure.objects.filter(scope=ErasureScope.TENANT),
                lambda each: finish_purge(each, SYSTEM),
                key=lambda each: each.pk,
                tenant=lambda each: each.tenant,
            )
            problems.append(unfinished.problem)
        purged = serve_each(
            "purge_tenants",
            Tenant.objects.purgeable().order_by("deleted_at").values_list("pk", flat=True),
            lambda tenant_id: self._purge(Tenant.objects.purgeable().get(pk=tenant_id), dry_run),
            key=str,
            tenant=lambda tenant_id: tenant_id,
        )
        problems.append(purged.problem)
        if any(problems):
            raise CommandError(" ".join(filter(None, problems)))

    def _purge(self, tenant: Tenant, dry_run: bool) -> None:
        removed = {} if dry_run else purge(tenant, SYSTEM).removed
        shown = ", ".join(f"{name}: {each['count']}" for name, each in sorted(removed.items()))
        self.stdout.write(f"{tenant.pk} {tenant.slug} deleted {tenant.deleted_at:%Y-%m-%d} {shown}".rstrip())
