"""Real starts of the product: `manage.py serve` in processes, each with its own port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.ports import free_port
from qa.testing.server import ServeProcess


@pytest.fixture(scope="session")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of starts one after the other: only the first one migrates its database."""
    return tmp_path_factory.mktemp("product") / "var"


@pytest.fixture
def environment(var_dir: Path) -> dict[str, str]:
    """Settings of a start. Its provider is never called, so no model is loaded."""
    return product_settings(var_dir)


def product_settings(var_dir: Path) -> dict[str, str]:
    return {
        "DJANGO_ENV": "development",
        "PORT": str(free_port()),
        "VAR_DIR": str(var_dir),
        "WORKERS": "1",
        "JOBS": "False",
        "GROQ_API_KEY": "never-used",
    }


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., ServeProcess]]:
    """Start the product: `start(*options, **changed_variables)`. The test ends them all."""
    yield from starting(tmp_path, environment)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A product with two workers and jobs, shared by tests after which it still runs."""
    folder = tmp_path_factory.mktemp("running")
    for start in starting(folder, product_settings(folder / "var")):
        yield start(WORKERS="2", JOBS="True").wait_until_ready()


def starting(folder: Path, environment: dict[str, str]) -> Iterator[Callable[..., ServeProcess]]:
    starts: list[ServeProcess] = []

    def make(*options: str, **changes: str) -> ServeProcess:
        output = folder / f"output-{len(starts)}.txt"
        starts.append(ServeProcess(output, environment | changes, *options))
        return starts[-1]

    yield make
    for one in starts:
        one.stop()
