"""Run the jobs that are due: once, or with --loop until SIGTERM. Any number of processes share the work."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.jobs.models import Job
from core.jobs.runner import Runner, run


class Command(BaseCommand):
    help = "Run the commands of settings.JOBS that are due, each in one process at a time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--loop", action="store_true", help="keep running until SIGTERM")

    def handle(self, *args: Any, loop: bool, **options: Any) -> None:
        if loop:
            self._loop()
            return
        failed: list[str] = []
        for name, every in settings.JOBS.items():
            if claim := Job.objects.claim(name):
                error = run(name, every, claim)
                self.stdout.write(f"{name}: {error or 'done'}")
                failed += [name] if error else []
        if failed:
            raise CommandError(f"failed: {', '.join(failed)}")

    def _loop(self) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        runner = Runner(settings.JOBS)
        runner.start()
        stop.wait()
        runner.stop()
