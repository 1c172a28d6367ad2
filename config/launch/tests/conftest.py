"""Real starts of the product: `manage.py serve` in processes, each with a folder and port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from django.conf import settings

from config.environment import VARIABLES
from config.launch import locks

#: Generous: the machine may be busy. A condition that holds is seen at once.
PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(0.05)


class Start:
    """One `manage.py serve`, asked for."""

    def __init__(self, output: Path, environment: dict[str, str], *options: str) -> None:
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self._output = output
        ours = {variable.name for variable in VARIABLES}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
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

    def answers(self, path: str = "/health") -> bool:
        try:
            return requests.get(self.url + path, timeout=5).ok
        except requests.ConnectionError:
            return False

    def ready(self) -> Start:
        """Return itself once it has said that it is ready."""

        def decided() -> bool:
            return "Ready after" in self.output or self.process.poll() is not None

        wait_until(decided, "ready")
        assert self.process.poll() is None, self.output
        return self

    def refused(self) -> str:
        """Return what it said when it ended without serving."""
        assert self.process.wait(PATIENCE_SECONDS) == 1, self.output
        return self.output

    def part(self, name: str) -> psutil.Process:
        """Return the process of this start that is the program or Python module `name`."""
        return next(
            child for child in self.family() if child.name() == name or child.cmdline()[1:3] == ["-m", name]
        )

    def family(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)

    def press_ctrl_c(self) -> int:
        """Interrupt the foreground process group, as a terminal does; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What makes a start independent of all others. Its provider is never called: no model to load."""
    return {
        "DJANGO_ENV": "development",
        "PORT": str(locks.free_port()),
        "VAR_DIR": str(tmp_path / "var"),
        "WORKERS": "1",
        "JOBS": "False",
        "GROQ_API_KEY": "never-used",
    }


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Start]]:
    """Start the product: `start(*options, **changed_variables)`. Whatever is left is ended after the test."""
    starts: list[Start] = []

    def make(*options: str, **changes: str) -> Start:
        output = tmp_path / f"output-{len(starts)}.txt"
        starts.append(Start(output, environment | changes, *options))
        return starts[-1]

    yield make
    for one in starts:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(PATIENCE_SECONDS)
