"""A run of tests finds the processes that a test has left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from qa.testing.leftovers import processes_of
from qa.testing.waiting import wait_until

#: Starts a process that outlives it, in a session of its own.
PARENT = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "input()"], start_new_session=True, stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_process_is_found_while_it_runs():
    run = f"leftovers-{os.getpid()}"
    environment = os.environ | {"TEST_RUN": run}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    both = {parent.pid, child.pid}
    wait_until(lambda: both <= {process.pid for process in processes_of(run)}, "both are found")

    parent.kill()
    parent.wait()
    child.kill()

    wait_until(lambda: not processes_of(run), "none is left")
