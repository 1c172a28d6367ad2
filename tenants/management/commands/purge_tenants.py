"""Remove tenants that were deleted more than 30 days ago."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tenants.models import Tenant
from tenants.models.audit import SYSTEM
from tenants.purge import purge


class Command(BaseCommand):
    help = "Remove for good the tenants that were deleted more than 30 days ago, with all they own."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only name the tenants")

    def handle(self, *args: Any, **options: Any) -> None:
        for tenant in Tenant.objects.purgeable().order_by("deleted_at"):
            counts = {} if options["dry_run"] else purge(tenant, SYSTEM)
            shown = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
            self.stdout.write(
                f"{tenant.pk} {tenant.slug} deleted {tenant.deleted_at:%Y-%m-%d} {shown}".rstrip()
            )
