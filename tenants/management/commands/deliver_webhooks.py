"""Deliver the webhooks that are due: once, or with --loop until SIGTERM. Several loops share the work."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tenants.webhooks.delivery import deliver_due
from tenants.webhooks.sender import Sender

PAUSE_SECONDS = 1.0


class Command(BaseCommand):
    help = "Deliver the webhooks that are due."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--loop", action="store_true", help="repeat until SIGTERM")

    def handle(self, *args: Any, **options: Any) -> None:
        sender = Sender()
        if not options["loop"]:
            self.stdout.write(f"attempts: {deliver_due(sender)}")
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            deliver_due(sender, stop)
            stop.wait(PAUSE_SECONDS)
