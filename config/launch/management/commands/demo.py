from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.launch import conversation
from config.launch.supervisor import END_SECONDS, Part
from core.ports import free_port

READY_SECONDS = 180
LOG_LINES = 20


class Command(BaseCommand):
    help = (
        "Start a server of its own beside whatever runs, hold one conversation over HTTP, print it, stop it. "
        "Its data is thrown away, unless MONGODB_URI names a server."
    )

    def handle(self, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="chat-agent-demo-") as folder, _server(Path(folder)) as url:
            conversation.hold(url, self._say)
        self._say("The demo is complete. The same for your own use: make run")

    def _say(self, line: str) -> None:
        self.stdout.write(f"{line}\n", ending="")  # Else a blank line at the end is lost.
        self.stdout.flush()


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    """A ready server on a free port; its log is shown if anything goes wrong."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ours = {"DJANGO_ENV": "development", "HOST": "127.0.0.1", "PORT": str(port), "VAR_DIR": str(folder)}
    with (folder / "server.log").open("w+") as log:
        command = [sys.executable, "manage.py", "serve", "--no-reload", "--no-seed"]
        server = Part.start("The server", command, env=os.environ | ours, stderr=log)
        try:
            _await_ready(server, url)
            yield url
        except (conversation.Refused, TimeoutError) as error:
            log.seek(0)
            last = "".join(log.readlines()[-LOG_LINES:])
            raise CommandError(f"{error}\nThe last lines of the server's log:\n{last}") from error
        finally:
            server.stop(settings.DRAIN_SECONDS + 2 * END_SECONDS)
            _await_end_of_database(folder)


def _await_end_of_database(folder: Path) -> None:
    """Return once mongod, which ends after its last user, writes no more into `folder`."""
    with contextlib.suppress(FileNotFoundError), (folder / "mongodb" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def _await_ready(server: Part, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/ready", timeout=5).ok:
                return
        if server.process.poll() is not None:
            raise TimeoutError("The server ended before it was ready.")
        time.sleep(0.1)
    raise TimeoutError(f"The server was not ready within {READY_SECONDS} s.")
