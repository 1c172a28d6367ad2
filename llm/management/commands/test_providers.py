"""Test the providers with real calls and print what is wrong with each."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llm import providers
from llm.probe import Check, Result, probe


class Command(BaseCommand):
    help = "Call every configured provider, whole and streamed, and show how it answered."
    requires_system_checks = ["llm"]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--provider", choices=list(providers.PROVIDERS), help="only this provider")
        parser.add_argument("--model", default="", help="instead of the provider's default model")
        parser.add_argument("--json", action="store_true", help="print the results as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["model"] and not options["provider"]:
            raise CommandError("Name the model's provider too: --provider groq --model …")
        names = [options["provider"]] if options["provider"] else providers.PROVIDERS
        results = probe([providers.get(name) for name in names], options["model"])
        if options["json"]:
            self.stdout.write(json.dumps([asdict(result) for result in results], indent=2))
        else:
            for result in results:
                self._show(result)
        if failed := [result.label for result in results if result.ok is False]:
            raise CommandError(f"Failed: {', '.join(failed)}.")

    def _show(self, result: Result) -> None:
        if not result.configured:
            self.stdout.write(f"–  {result.label}: {result.problem}")
            return
        self.stdout.write(f"{'✓' if result.ok else '✗'}  {result.label}, {result.model}")
        for check in result.checks:
            self.stdout.write(f"     {'streamed' if check.stream else 'whole':<9} {_summary(check)}")


def _summary(check: Check) -> str:
    if not check.ok:
        return check.problem
    first_token = f", first token after {check.first_token_ms} ms" if check.first_token_ms is not None else ""
    return f"{check.latency_ms} ms{first_token}: {check.reply.strip()!r}"
