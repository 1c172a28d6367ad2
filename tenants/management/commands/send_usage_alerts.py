"""Mail admins about used-up limits of the month and about models without a price. For cron."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants.billing import alerts


class Command(BaseCommand):
    help = "Mail admins of tenants, once a month each, at 80 and 100 % of a limit and for unknown prices."

    def handle(self, *args: Any, **options: Any) -> None:
        sent, problem = alerts.send_each_due()
        for alert in sent:
            self.stdout.write(f"{alert.tenant.pk} {alert.subject}")
        if problem:
            raise CommandError(problem)
