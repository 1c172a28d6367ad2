"""Purge the tenants that were deleted more than 30 days ago."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from core.audit.models import SYSTEM
from tenants.models import Erasure, Tenant
from tenants.models.erasure import ErasureScope
from tenants.purge import finish_purge, purge


class Command(BaseCommand):
    help = "Permanently remove tenants that were deleted more than 30 days ago, with everything they own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only list the tenants")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if not dry_run:
            for unfinished in Erasure.objects.filter(scope=ErasureScope.TENANT):
                finish_purge(unfinished, SYSTEM)
        for tenant in Tenant.objects.purgeable().order_by("deleted_at"):
            removed = {} if dry_run else purge(tenant, SYSTEM).removed
            shown = ", ".join(f"{name}: {each['count']}" for name, each in sorted(removed.items()))
            self.stdout.write(
                f"{tenant.pk} {tenant.slug} deleted {tenant.deleted_at:%Y-%m-%d} {shown}".rstrip()
            )
