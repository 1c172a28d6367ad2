"""Client packages in processes of their own, and a server for them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat.tests.conftest import openai_key, openai_server
from config.settings import BASE_DIR

__all__ = ["openai_key", "openai_server"]

CONVERSATIONS = Path(__file__).parent / "conversations"
ENVIRONMENTS = BASE_DIR / "var" / "clients"


class ClientProcess:
    """A running client: `client.run("plain", model=…, url=…, key=…)` is the result of that scenario."""

    def __init__(self, name: str, program: list[str], folder: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            program, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, scenario: str, **request: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"scenario": scenario, **request}) + "\n")
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def stop(self) -> None:
        self._process.communicate()


def _program(name: str) -> tuple[list[str], Path]:
    """Return the command of a client such as `openai.mjs`, and the folder in which it runs."""
    stem, _, kind = name.partition(".")
    source = str(CONVERSATIONS / f"{stem}_client.{kind}")
    if kind == "mjs":
        return ["node", source], ENVIRONMENTS / "node"
    environment = "python-openai-2" if stem in ("instructor", "llama_index") else "python"
    return [str(ENVIRONMENTS / environment / "bin" / "python"), source], CONVERSATIONS


@pytest.fixture(scope="session")
def start_client() -> Iterator[Callable[[str], ClientProcess]]:
    """Return a function that starts a client, or returns it if it runs."""
    running: dict[str, ClientProcess] = {}

    def start(name: str) -> ClientProcess:
        if name not in running:
            program, folder = _program(name)
            if not (Path(program[0]).exists() or folder.name == "node") or not folder.exists():
                pytest.fail("The client packages are not installed: make clients")
            running[name] = ClientProcess(name, program, folder)
        return running[name]

    yield start
    for process in running.values():
        process.stop()


@pytest.fixture
def run(start_client, openai_server, fake, acme, openai_key) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a scenario with a model, such as `run("openai.py", "plain", "groq/m")`."""

    def run(client: str, scenario: str, model: str) -> dict[str, Any]:
        acme.plan.update(requests_per_minute=None)
        url = f"{openai_server.url}/v1"
        return start_client(client).run(scenario, model=model, url=url, key=openai_key)

    return run
