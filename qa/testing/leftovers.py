"""A pytest plugin: a run fails if processes that its tests have started outlive it.

They inherit TEST_RUN, even those whose parent has ended.
"""

from __future__ import annotations

import contextlib
import os

import psutil
import pytest

#: Processes that were asked to end, such as an embedded MongoDB without users, may take so long.
END_SECONDS = 20


def processes_of(run: str) -> list[psutil.Process]:
    """Return the processes with TEST_RUN={run} in their environment, except this one and its ancestors."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in own and process.environ().get("TEST_RUN") == run:
                found.append(process)
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # The process that distributes the tests checks those of all.
    from core.mongo import embedded

    embedded.stop()
    left = processes_of(os.environ.get("TEST_RUN", ""))
    _, left = psutil.wait_procs(left, timeout=END_SECONDS)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for process in left:
            with contextlib.suppress(psutil.Error):
                print(f"\nleft behind by a test: {process.pid} {' '.join(process.cmdline())[:300]}")
