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
from config.launch.processes import ManagedProcess
from config.launch.supervisor import END_SECONDS
from core.ports import free_port

READY_SECONDS = 180
LOG_LINES = 20


class Command(BaseCommand):
    help = (
        "Start a separate server, hold one conversation with it over HTTP, print it, and stop the server. "
        "Its data is deleted, unless MONGODB_URI is set."
    )

    def handle(self, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="chat-agent-demo-") as folder, _server(Path(folder)) as url:
            conversation.run(url, self._write)
        self._write("The demo is complete. To use the product yourself: make run")

    def _write(self, line: str) -> None:
        self.stdout.write(f"{line}\n", ending="")  # With the default ending a blank last line would be lost.
        self.stdout.flush()


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Yield the URL of a ready server on a free port; its log is shown if anything fails."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ours = {"DJANGO_ENV": "development", "HOST": "127.0.0.1", "PORT": str(port), "VAR_DIR": str(folder)}
    with (folder / "server.log").open("w+") as log:
        command = [sys.executable, "manage.py", "serve", "--no-reload", "--no-seed"]
        server = ManagedProcess.start("The server", command, env=os.environ | ours, stderr=log)
        try:
            _wait_until_ready(server, url)
            yield url
        except (conversation.ConversationFailed, TimeoutError) as error:
            log.seek(0)
            last = "".join(log.readlines()[-LOG_LINES:])
            raise CommandError(f"{error}\nThe last lines of the server's log:\n{last}") from error
        finally:
            server.stop(settings.DRAIN_SECONDS + 2 * END_SECONDS)
            _wait_for_end_of_database(folder)


def _wait_for_end_of_database(folder: Path) -> None:
    """Return once mongod, which ends after its last user, no longer writes into `folder`."""
    with contextlib.suppress(FileNotFoundError), (folder / "mongodb" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def _wait_until_ready(server: ManagedProcess, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/ready", timeout=5).ok:
                return
        if server.exit_code is not None:
            raise TimeoutError("The server ended before it was ready.")
        time.sleep(0.1)
    raise TimeoutError(f"The server was not ready within {READY_SECONDS} s.")
