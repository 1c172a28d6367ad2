"""Real starts of the product: `manage.py serve` in processes, each with its own folder and port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.ports import free_port
from qa.testing.server import ServeProcess


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of an independent start. Its provider is never called, so no model is loaded."""
    return {
        "DJANGO_ENV": "development",
        "PORT": str(free_port()),
        "VAR_DIR": str(tmp_path / "var"),
        "WORKERS": "1",
        "JOBS": "False",
        "GROQ_API_KEY": "never-used",
    }


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., ServeProcess]]:
    """Start the product: `start(*options, **changed_variables)`. The test ends them all."""
    starts: list[ServeProcess] = []

    def make(*options: str, **changes: str) -> ServeProcess:
        output = tmp_path / f"output-{len(starts)}.txt"
        starts.append(ServeProcess(output, environment | changes, *options))
        return starts[-1]

    yield make
    for one in starts:
        one.stop()
