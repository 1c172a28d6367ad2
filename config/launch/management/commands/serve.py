from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.launch.locks import LockError
from config.launch.supervisor import StopRequested, Supervisor, SupervisorError


class Command(BaseCommand):
    help = "Run the product: database, local model and HTTP server, until Ctrl-C or SIGTERM."

    def add_arguments(self, parser: ArgumentParser) -> None:
        development = settings.DJANGO_ENV == "development"
        parser.add_argument(
            "--reload",
            action=BooleanOptionalAction,
            default=development,
            help="restart the workers when a source file changes (default: in development)",
        )
        parser.add_argument(
            "--seed",
            action=BooleanOptionalAction,
            default=development,
            help="create the demo tenant, user and key once (default: in development)",
        )

    def handle(self, *, reload: bool, seed: bool, **options: Any) -> None:
        try:
            Supervisor(reload=reload, seed=seed, report=self._write).run()
        except (SupervisorError, LockError) as error:
            raise CommandError(str(error)) from error
        except StopRequested:
            return  # Before anything was started.
        self._write("Stopped.")

    def _write(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
