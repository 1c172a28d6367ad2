"""Mail the admins of tenants that near the end of their month's limits. Meant for cron."""

from typing import Any

from django.core.management.base import BaseCommand

from tenants.billing import alerts


class Command(BaseCommand):
    help = "Tell admins of tenants, once each, that 80 or 100 % of a limit are used or a price is unknown."

    def handle(self, *args: Any, **options: Any) -> None:
        for alert in alerts.send_due():
            self.stdout.write(f"{alert.tenant.pk} {alert.subject}")
