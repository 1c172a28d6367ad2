"""A MongoDB that can't be used: refused at start, by the checks and by /ready, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.conf import settings
from pymongo import MongoClient

from core.mongo import embedded
from core.ports import free_port
from qa.testing.server import RunningServer, ServeProcess
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Mongod:
    """A mongod with these options, on a port that it keeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "db").mkdir()
        self.port = free_port()
        self.uri = f"mongodb://127.0.0.1:{self.port}/chat-agent"

    def start(self, *options: str) -> None:
        files = ["--dbpath", str(self._folder / "db"), "--logpath", str(self._folder / "mongod.log")]
        self._process = subprocess.Popen(
            [str(embedded.mongod_program()), *files, "--port", str(self.port), *embedded.OPTIONS, *options],
            stdout=subprocess.DEVNULL,
        )
        with MongoClient(self.uri, directConnection=True) as client:
            client.admin.command("ping")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    mongod = Mongod(tmp_path)
    yield mongod
    mongod.stop()


def start(mongod: Mongod, folder: Path) -> RunningServer:
    """Begin to start a server in production settings; not with `with`, as it is not to become ready."""
    variables = {"DJANGO_ENV": "production", "ALLOWED_HOSTS": "127.0.0.1", "GROQ_API_KEY": "never-used"}
    return RunningServer(mongod.uri, folder, **variables)


def manage(server: ServeProcess, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"]} | server.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "MongoDB runs as a single server"),
        (["--replSet", "rs0"], "The replica set of MongoDB has no configuration yet"),
    ],
    ids=["no replica set", "not initiated"],
)
def test_a_server_without_transactions_is_refused_with_the_command_to_run(
    mongod, tmp_path, options, sentence
):
    mongod.start(*options)
    server = start(mongod, tmp_path / "product")
    outputs = [server.failure_output()]
    for command in (["migrate"], ["check", "--deploy"]):
        result = manage(server, *command)
        assert result.returncode == 1
        outputs.append(result.stderr)

    for output in outputs:
        assert sentence in output
        assert "--eval 'rs.initiate()'" in output
        assert "Traceback" not in output


def test_ready_and_the_checks_agree_when_the_replica_set_is_lost(mongod, tmp_path):
    mongod.start("--replSet", "rs0")
    member = {"_id": 0, "host": f"127.0.0.1:{mongod.port}"}
    with MongoClient(mongod.uri, directConnection=True) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], "mongod takes writes")
    mongod.uri += "?directConnection=true"
    folder = tmp_path / "product"
    refused = start(mongod, folder / "refused")
    assert "migrations are missing. First run: python manage.py migrate" in refused.failure_output()
    assert "migrations are missing" in manage(refused, "check", "--deploy").stderr
    assert manage(refused, "migrate", "--verbosity", "0").returncode == 0
    with start(mongod, folder) as server:
        assert manage(server, "check", "--deploy").returncode == 0
        mongod.stop()
        mongod.start()

        def problems() -> list[str]:
            return requests.get(f"{server.url}/ready", timeout=60).json()["problems"]

        wait_until(lambda: any("single server" in problem for problem in problems()), "/ready says so")
        answer = requests.get(f"{server.url}/ready", timeout=60)
        assert (answer.status_code, answer.json()["stores"]["database"]) == (503, "unsuitable")
        assert requests.get(f"{server.url}/health", timeout=60).status_code == 200
        assert "MongoDB runs as a single server" in manage(server, "check", "--deploy").stderr
