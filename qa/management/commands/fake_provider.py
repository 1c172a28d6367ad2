"""Runs the fake provider for developers and benchmarks."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from qa.fake_provider import faults
from qa.fake_provider.server import BASE_PATHS, FakeProvider


class Command(BaseCommand):
    help = "Serve a fake provider with every wire format, and print the variables that configure it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 selects a free one")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")

    def handle(self, *args: Any, **options: Any) -> None:
        fake = FakeProvider(options["port"], host=options["host"])
        with contextlib.suppress(KeyboardInterrupt):
            fake.serve_forever(lambda: self._print_variables(fake))

    def _print_variables(self, fake: FakeProvider) -> None:
        for name in BASE_PATHS:
            variable = name.upper()
            if name in {"groq", "gemini", "openrouter"}:
                self.stdout.write(f"{variable}_API_KEY=fake-key")
            self.stdout.write(f"{variable}_BASE_URL={fake.base_url(name)}")
            self.stdout.write(f"{variable}_MODEL=fake-large")
        self.stdout.write(f"\n# Scripts: POST {fake.url}/_control · log: GET {fake.url}/_log")
        self.stdout.write(f"# A model named fault-<name> fails: {', '.join(faults.NAMES)}")
        self.stdout.flush()
