"""Child processes of a start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from config.launch.backoff import START_SECONDS, delay_seconds
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


class RestartedProcess:
    """A child that is started again whenever it ends, later each time while it can't start.

    `current` is the one that runs now, or the last one.
    """

    def __init__(self, start: Callable[[], ManagedProcess], report: Callable[[str], None]) -> None:
        self._start = start
        self._report = report
        self._failed_starts = 0
        self.current = start()
        self._started_at = time.monotonic()
        self._starts_again_at: float | None = None

    def watch(self) -> None:
        """Start it again if it has ended and its delay is over. To be called again and again."""
        code = self.current.exit_code
        now = time.monotonic()
        if code is None:
            return
        if self._starts_again_at is None:
            could_start = now - self._started_at > START_SECONDS
            self._failed_starts = 0 if could_start else self._failed_starts + 1
            delay = delay_seconds(self._failed_starts)
            self._starts_again_at = now + delay
            self._report(
                f"{self.current.name} ended by itself ({exit_status(code)}); it starts again in {delay:g} s."
            )
        if now >= self._starts_again_at:
            self.current = self._start()
            self._started_at, self._starts_again_at = now, None

    def stop(self, timeout_seconds: float) -> None:
        self.current.stop(timeout_seconds)


def exit_status(code: int) -> str:
    """Return a process's exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
