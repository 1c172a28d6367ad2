"""granian, except that workers which die are replaced for as long as the server runs.

granian itself exits as soon as a worker dies within 5.5 seconds of its start, and ends the turns of all other
workers. Two processes killed in a row (out of memory, a fault in a C library) would stop the product.

    python -m config.launch.granian_server OPTIONS… APP      takes granian's own options
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from granian import cli
from granian.log import logger
from granian.server import MPServer

from config.launch import open_files
from config.launch.backoff import START_SECONDS, delay_seconds
from core import metrics

#: As long as no worker has lived longer, the application itself may be broken: then exit after this many.
MAX_FAILED_STARTS = 5


class RespawningServer(MPServer):
    """Relies on granian 2.8: its main loop calls `_respawn_workers` after the death of a worker, and exits
    if one dies soon after the time that `respawned_wrks` has for it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._failed_starts: Counter[int] = Counter()
        self._has_started = False

    def _respawn_workers(
        self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0
    ) -> None:
        """Replace all dead workers: of two that die together, `workers` may name only one.

        With a `delay` granian replaces workers that are alive, to reload them.
        """
        if delay:
            super()._respawn_workers(workers, spawn_target, target_loader, delay)
            return
        dead = [index for index, worker in enumerate(self.wrks) if not worker.inner.is_alive()]
        self._count_failed_starts(dead)
        failed_starts = max((self._failed_starts[index] for index in dead), default=0)
        if failed_starts >= MAX_FAILED_STARTS and not self._has_started:
            self._give_up(dead)
            return
        for index in dead:
            if pid := self.wrks[index].inner.pid:
                metrics.forget_process(pid)
        self._wait(delay_seconds(failed_starts))
        if not self.interrupt_signal:
            super()._respawn_workers(dead, spawn_target, target_loader)
            self.respawned_wrks.clear()

    def _give_up(self, dead: list[int]) -> None:
        """Let the main loop end; the exit code is 1 because of the dead workers that it knows of."""
        logger.error("The workers cannot start, exiting")
        self.interrupt_children.extend(dead)
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def _count_failed_starts(self, dead: list[int]) -> None:
        now = time.monotonic()
        started = {worker.idx for worker in self.wrks if now - worker.birth > START_SECONDS}
        self._has_started |= bool(started)
        for index in dead:
            self._failed_starts[index] = 0 if index in started else self._failed_starts[index] + 1

    def _wait(self, seconds: float) -> None:
        """Sleep, but not longer than until the server is asked to stop."""
        deadline = time.monotonic() + seconds
        while not self.interrupt_signal and time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    open_files.raise_limit()
    cli.Server = RespawningServer  # type: ignore[attr-defined]  # the name that granian's command line uses
    cli.entrypoint()  # type: ignore[no-untyped-call]  # granian has no annotation there
