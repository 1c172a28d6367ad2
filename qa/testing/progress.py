"""A pytest plugin: a line of progress a minute where the output is no terminal, such as a CI log."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

INTERVAL_SECONDS = 60


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if not (is_worker or sys.stdout.isatty() or config.option.collectonly):
        config.pluginmanager.register(Progress(config), "progress")


class Progress:
    """Counts finished tests, those of xdist's workers included."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = self._printed_at = time.monotonic()
        self._collected = 0
        self._finished = 0
        self._failed = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._collected = len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._collected = len(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed += report.failed
        self._finished += report.when == "teardown"
        if time.monotonic() - self._printed_at >= INTERVAL_SECONDS:
            self._printed_at = time.monotonic()
            self._print()

    def _print(self) -> None:
        minutes = (time.monotonic() - self._began) / 60
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        reporter.line("")  # ends the line of dots
        reporter.write_line(
            f"{minutes:.0f} min: {self._finished} of {self._collected} tests, {self._failed} failed"
        )
