"""The product as a process: `manage.py serve`, for what only processes and sockets can show."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil
import requests
from django.conf import settings

from core.ports import free_port
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

#: Variables that a server inherits: those of the operating system, Python and coverage, not of the product.
_INHERITED = re.compile(r"HOME|LANG|LC_.*|LD_LIBRARY_PATH|PATH|TEST_RUN|TMPDIR|TZ|USER|PYTHON.*|COVERAGE_.*")


class ServeProcess:
    """One `manage.py serve`, started with `environment` and nothing inherited that configures it."""

    def __init__(self, output: Path, environment: dict[str, str], *options: str) -> None:
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self._output = output
        inherited = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
        with output.open("w") as file:
            self.process = psutil.Popen(
                [sys.executable, "manage.py", "serve", "--no-reload", *options],
                cwd=settings.BASE_DIR,
                env=inherited | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def is_answering(self, path: str = "/health") -> bool:
        try:
            return requests.get(self.url + path, timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def wait_until_ready(self) -> Self:
        """Return itself once it has printed that it is ready."""

        def decided() -> bool:
            return "Ready after" in self.output or self.process.poll() is not None

        wait_until(decided, "ready")
        assert self.process.poll() is None, self.output
        return self

    def failure_output(self) -> str:
        """Return its output once it has ended without serving."""
        assert self.process.wait(PATIENCE_SECONDS) == 1, self.output
        return self.output

    def child(self, name: str) -> psutil.Process:
        """Return the child process that is the program or Python module `name`."""
        return next(
            child
            for child in self.descendants()
            if child.name() == name or child.cmdline()[1:3] == ["-m", name]
        )

    def descendants(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)

    def interrupt(self) -> int:
        """Interrupt the foreground process group, as a terminal does; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """End with SIGTERM: running requests are finished first. Repeatable."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)


class RunningServer(ServeProcess):
    """A server on the tests' database: `with RunningServer(uri, folder, GROQ_API_KEY=…) as server`.

    Several on one database act as several machines of one installation: they share nothing else.
    `folder` takes its output, its locks and, with an empty URI, its own database; `options` are those
    of `serve`, `variables` are set in its environment.
    """

    def __init__(self, mongodb_uri: str, folder: Path, *options: str, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "DJANGO_ENV": "test",
            "MONGODB_URI": mongodb_uri,
            "PORT": str(free_port()),
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

    def __enter__(self) -> Self:
        return self.wait_until_ready()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def workers(self) -> list[psutil.Process]:
        return self.child("config.launch.granian_server").children()

    def kill(self) -> None:
        """End all of its processes at once with SIGKILL; nothing is finished."""
        processes = [self.process, *self.descendants()]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)
