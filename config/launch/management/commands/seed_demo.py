from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.launch import seed


class Command(BaseCommand):
    help = "Create the demo tenant, user and key once, and show their credentials."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--renew", action="store_true", help="issue a new password and key")
        parser.add_argument("--url", default=f"http://127.0.0.1:{settings.PORT}", help="base URL to show")

    def handle(self, *, renew: bool, url: str, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError("The demo user has all rights: it is not for production.")
        demo = seed.ensure_demo(renew=renew)
        if demo is None:
            self.stdout.write("The demo tenant was deleted, and is not created again.")
        elif not demo.key:
            self.stdout.write(
                f"Demo user {seed.EMAIL}, tenant {demo.tenant.pk}. Password and key were shown at the first "
                "start; for new ones: manage.py seed_demo --renew"
            )
        else:
            self.stdout.write(
                f"Demo credentials, shown only this once:\n"
                f"  e-mail     {seed.EMAIL}\n"
                f"  password   {demo.password}\n"
                f"  tenant id  {demo.tenant.pk}\n"
                f"  API key    {demo.key}\n"
                f"Try it:\n"
                f"  curl {url}/api/chat -H 'Content-Type: application/json' \\\n"
                f"    -H 'X-API-Key: {demo.key}' -d '{{\"message\": \"What is the capital of France?\"}}'"
            )
