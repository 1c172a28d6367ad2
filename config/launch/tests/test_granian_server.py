"""Workers that die are replaced; a server whose workers cannot start exits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from config.launch.backoff import MAX_DELAY_SECONDS, START_SECONDS, delay_seconds
from config.launch.granian_server import MAX_FAILED_STARTS
from core.ports import free_port
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

APPLICATION = """
import pathlib, sys

with open("starts.txt", "a") as starts:
    print(file=starts)
if pathlib.Path("broken").exists():
    sys.exit("cannot start")


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "application.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[psutil.Popen]:
    options = ["--interface=wsgi", f"--port={free_port()}", "--workers=2", "--respawn-failed-workers"]
    options += ["--workers-kill-timeout=1", f"--working-dir={folder}", "application:application"]
    process = psutil.Popen(
        [sys.executable, "-m", "config.launch.granian_server", *options],
        cwd=folder,
        env={"PYTHONPATH": f"{settings.BASE_DIR}:{folder}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def starts(folder: Path) -> int:
    """Return how often a worker has loaded the application."""
    try:
        return len((folder / "starts.txt").read_text())
    except FileNotFoundError:
        return 0


def test_workers_that_die_together_again_and_again_are_replaced(folder, server):
    for replacements in range(MAX_FAILED_STARTS - 1):
        wait_until(lambda expected=2 * (replacements + 1): starts(folder) == expected, "both workers run")
        for worker in server.children():
            worker.kill()
    wait_until(lambda: starts(folder) == 2 * MAX_FAILED_STARTS, "both workers run")
    assert server.is_running()


def test_a_server_whose_workers_cannot_start_exits(folder, server):
    (folder / "broken").touch()
    for worker in server.children():
        worker.kill()

    assert server.wait(PATIENCE_SECONDS) == 1
    assert starts(folder) >= MAX_FAILED_STARTS


def test_a_server_that_has_run_waits_until_its_workers_can_start_again(folder, server):
    wait_until(lambda: starts(folder) == 2, "both workers run")
    loaded_at = time.monotonic()
    wait_until(lambda: time.monotonic() > loaded_at + START_SECONDS, "the workers count as started")
    (folder / "broken").touch()
    for worker in server.children():
        worker.kill()
    wait_until(lambda: starts(folder) > 2 * MAX_FAILED_STARTS, "more attempts than a new server makes")

    assert server.is_running()
    (folder / "broken").unlink()
    wait_until(lambda: len(server.children()) == 2, "both workers run")


def test_delays_double_up_to_a_limit():
    delays = [delay_seconds(number) for number in range(8)]

    assert delays == [0, 0, 0.5, 1, 2, 4, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]
