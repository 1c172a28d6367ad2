"""A real server on the tests' database, for what only processes and sockets can show."""

from __future__ import annotations

from pathlib import Path

import psutil
from django.conf import settings

from config.launch import locks
from config.launch.tests.conftest import PATIENCE_SECONDS, Start


class RunningServer(Start):
    """`manage.py serve` on a port of its own: `with RunningServer(uri, folder, GROQ_API_KEY=…) as server`.

    Several on one database are several machines of one installation: they share nothing else.
    `folder` takes its output, its locks and, with an empty URI, a database of its own; `options` are those
    of `serve`, `variables` are set in its environment.
    """

    def __init__(self, mongodb_uri: str, folder: Path, *options: str, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "DJANGO_ENV": "test",
            "MONGODB_URI": mongodb_uri,
            "PORT": str(locks.free_port()),
            "VAR_DIR": str(folder),
            "WORKERS": "1",
            "THREADS": "64",
            "JOBS": "False",
            "DRAIN_SECONDS": "5",
            # Keys and tokens that the test issues are valid there.
            "SECRET_KEY": settings.SECRET_KEY,
            "JWT_ACCESS_SECRET": settings.SIMPLE_JWT["SIGNING_KEY"],
            "JWT_REFRESH_SECRET": settings.JWT_REFRESH_SECRET,
            "API_KEY_PEPPER": settings.API_KEY_PEPPER,
        }
        super().__init__(folder / "output.txt", environment | variables, *options)

    def __enter__(self) -> RunningServer:
        return self.ready()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End in order: running requests are finished first. Repeatable."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)

    def workers(self) -> list[psutil.Process]:
        return self.part("granian").children()

    def kill(self) -> None:
        """End as with `kill -9` on all of its processes at once; nothing is finished."""
        processes = [self.process, *self.family()]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
