"""Child processes of a start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from config.launch.parent_death import dying_with_parent


@dataclass
class ManagedProcess:
    """A child in a process group of its own, which is killed when this process dies."""

    name: str
    process: subprocess.Popen[Any]

    @classmethod
    def start(cls, name: str, command: list[str], **options: Any) -> ManagedProcess:
        """Start `command` with the `options` of Popen."""
        process = subprocess.Popen(  # noqa: S603  (our own command, no shell)
            dying_with_parent(command),
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the parent, which stops its children in order.
            **options,
        )
        return cls(name, process)

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative for a signal."""
        return self.process.poll()

    def stop(self, timeout_seconds: float) -> None:
        """Terminate it; kill it and all its children if it has not ended after `timeout_seconds`."""
        self.process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_seconds)
        finally:  # Also when a second Ctrl-C interrupts the wait.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
