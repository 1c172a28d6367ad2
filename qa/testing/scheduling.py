"""A pytest plugin: which tests stay together in a run in several processes, and which start first.

With `--dist loadfile` the tests of a file stay in one process, so that the fixtures they share are built
once. Here those that share none are distributed one by one, and what takes long starts first, so that all
processes end together.
"""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Files whose tests start processes of their own, for seconds each, and share no fixture.
INDEPENDENT = frozenset(
    {
        "chat/tests/test_shutdown.py",
        "config/launch/tests/test_database_setups.py",
        "config/launch/tests/test_demo.py",
        "config/launch/tests/test_serve.py",
        "core/audit/tests/test_migrations.py",
        "core/mongo/tests/test_embedded.py",
        "qa/chaos/tests/test_chaos.py",
        "qa/isolation/tests/test_check_isolation.py",
    }
)

#: The other files that take longest. They start first, then those of TOGETHER, then all slow ones.
LONG = (
    "chat/tests/test_random_load.py",
    "qa/isolation/tests/test_matrix.py",
    "qa/isolation/tests/test_mutation.py",
    "chat/tests/test_crashes.py",
    "chat/tests/test_failed_writes.py",
    "qa/tests/test_contract.py",
)


#: Files whose tests wait for most of their time, so that others can compute meanwhile.
WAITING = (
    "chat/tests/test_turns.py",
    "chat/tests/test_access_watch.py",
    "config/tests/test_environment.py",
    "llm/tests/test_wire_patience.py",
    "llm/tests/test_wire_clock.py",
    "qa/fake_provider/tests/test_faults.py",
)

#: Beginnings of the names of files that share a fixture of the session that starts processes.
TOGETHER = ("chat/tests/test_openai_", "qa/hostile/tests/")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no type information
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file in INDEPENDENT:
            return nodeid
        return next((name for name in TOGETHER if file.startswith(name)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # The order is that of the workers' collections.
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[int, int]:
    file = item.nodeid.partition("::")[0]
    if file in LONG:
        return LONG.index(file), 0
    if file.startswith(TOGETHER):
        return len(LONG), 0
    if file in WAITING or item.get_closest_marker("slow"):
        # Mixed: neighbours in a folder would all wait, or all compute, at the same time.
        unit = item.nodeid if file in INDEPENDENT else file
        return len(LONG) + 1, zlib.crc32(unit.encode())
    return len(LONG) + 2, 0
