"""What every benchmark needs: settings, and the fake provider in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import django


def set_up_django(**variables: str) -> None:
    """Set up Django with the settings of tests: without `.env`, and with these variables."""
    os.environ |= {"DJANGO_ENV": "test", "DJANGO_SETTINGS_MODULE": "config.settings", **variables}
    django.setup()


@contextmanager
def fake_provider() -> Iterator[str]:
    """Yield the base URL of the fake provider, which plays Groq in its own process."""
    command = [sys.executable, "manage.py", "fake_provider", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _base_url(process)
        finally:
            process.terminate()


def _base_url(process: subprocess.Popen[str]) -> str:
    for line in process.stdout or ():
        name, _, value = str(line).strip().partition("=")
        if name == "GROQ_BASE_URL":
            return value
    raise SystemExit("The fake provider did not start.")
