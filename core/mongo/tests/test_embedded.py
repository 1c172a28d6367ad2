"""The embedded server, with real processes that are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from pymongo import MongoClient

from qa.testing.waiting import wait_until

BASE_DIR = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.slow

# Prints the URI, then runs until its input ends.
HOLDER = """
import sys
from pathlib import Path
from core.mongo import embedded
print(embedded.ensure(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that uses the embedded server of a folder, from start to `release` or `kill`."""

    def __init__(self, folder: Path, program: str = HOLDER, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            cwd=BASE_DIR,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def uri(self) -> str:
        line = self.process.stdout.readline().strip()
        assert line, self.process.stderr.read()
        return line

    def server(self) -> psutil.Process | None:
        """Return the mongod that this process started, None if it joined another's."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next((child for child in children if child.name() == "mongod"), None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def release(self) -> str:
        """End it by closing its input; return what it wrote to stderr."""
        return self.process.communicate(timeout=30)[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mongodb"


@pytest.fixture
def hold(folder: Path) -> Iterator[Callable[..., Holder]]:
    holders: list[Holder] = []

    def start(*args: str, **environment: str) -> Holder:
        holders.append(Holder(folder, *args, **environment))
        return holders[-1]

    yield start
    for holder in holders:
        if holder.process.poll() is None:
            holder.kill()


def write(uri: str, number: int) -> None:
    with MongoClient(uri) as client:
        client.probe.get_collection("writes").insert_one({"_id": number})


def written(uri: str) -> list[int]:
    with MongoClient(uri, serverSelectionTimeoutMS=10_000) as client:
        return [document["_id"] for document in client.probe.writes.find(sort=[("_id", 1)])]


def port_of(uri: str) -> int:
    return urlsplit(uri).port


def test_concurrent_starts_share_one_server(hold):
    holders = [hold() for _ in range(4)]
    assert len({holder.uri() for holder in holders}) == 1
    assert len([holder for holder in holders if holder.server()]) == 1


def test_the_server_ends_with_its_killed_owner_and_keeps_the_data(hold):
    owner = hold()
    write(owner.uri(), 1)
    server = owner.server()
    owner.kill()
    wait_until(lambda: not server.is_running(), "the server ends")
    assert written(hold().uri()) == [1]


def test_a_server_that_was_suspended_ends_with_its_last_user(hold):
    holder = hold()
    holder.uri()
    server = holder.server()
    server.suspend()
    wait_until(lambda: server.status() == psutil.STATUS_STOPPED, "it is suspended")
    server.resume()

    holder.release()

    wait_until(lambda: not server.is_running(), "it ends")


def test_a_start_waits_for_a_server_that_is_still_stopping(hold):
    owner = hold()
    write(owner.uri(), 1)
    owner.kill()
    assert written(hold().uri()) == [1]


@pytest.mark.parametrize("victim", [lambda mongod: mongod, lambda mongod: mongod.parent()])
def test_the_owner_restarts_a_killed_server(hold, victim):
    owner = hold()
    uri = owner.uri()
    for number in range(100):
        write(uri, number)
    server = owner.server()
    victim(server).kill()
    wait_until(lambda: not server.is_running() and owner.server() is not None, "a new server runs")
    assert written(uri) == list(range(100))


def test_the_server_stays_until_its_last_user_ends(hold):
    owner = hold()
    uri = owner.uri()
    server = owner.server()
    joined = hold()
    assert joined.uri() == uri
    assert joined.server() is None
    owner.kill()
    write(uri, 1)
    assert written(uri) == [1]
    assert server.is_running()
    joined.kill()
    wait_until(lambda: not server.is_running(), "the server ends")


def test_a_user_restarts_a_killed_server_whose_owner_has_ended(hold):
    owner = hold()
    uri = owner.uri()
    server = owner.server()
    joined = hold()
    joined.uri()
    owner.kill()
    write(uri, 1)
    server.kill()
    wait_until(lambda: joined.server() is not None, "the user starts a server")
    assert written(uri) == [1]


def test_the_server_ends_when_its_users_call_stop(hold):
    program = HOLDER.replace("sys.stdin.read()", "sys.stdin.readline(); embedded.stop(); sys.stdin.read()")
    user = hold(program)
    user.uri()
    server = user.server()
    user.process.stdin.write("stop\n")
    user.process.stdin.flush()
    wait_until(lambda: not server.is_running(), "the server ends")


@pytest.mark.parametrize("orderly", [True, False])
def test_the_server_moves_from_a_taken_port_without_losing_data(hold, orderly):
    owner = hold()
    uri = owner.uri()
    for number in range(100):
        write(uri, number)
    server = owner.server()
    if not orderly:
        os.kill(owner.process.pid, signal.SIGSTOP)  # So that it does not start the server again.
        server.kill()
    owner.kill()
    wait_until(lambda: not server.is_running(), "the server ends")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port_of(uri)))
        other.listen()  # And never responds.
        moved = hold().uri()
        assert moved != uri
        assert written(moved) == list(range(100))
        write(moved, 100)


def open_files(pid: int) -> set[str]:
    files = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            files.add(os.readlink(link))
    return files


def test_the_server_inherits_no_file_but_the_lock(hold, tmp_path, folder):
    secret = tmp_path / "secret"
    secret.touch()
    opening = f"import os; os.set_inheritable(os.open({str(secret)!r}, os.O_RDONLY), True)\n"
    owner = hold(opening + HOLDER)
    owner.uri()
    files = open_files(owner.server().pid)
    assert str(secret) not in files
    assert str(folder / "lock") in files


def test_the_server_listens_on_loopback_only(hold):
    owner = hold()
    owner.uri()
    listening = [c for c in owner.server().net_connections() if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_the_error_of_a_missing_library_says_how_to_install_it(hold, tmp_path):
    mongod = tmp_path / "wheel" / "fiftyone" / "db" / "bin" / "mongod"
    mongod.parent.mkdir(parents=True)
    (mongod.parent.parent / "__init__.py").touch()
    (mongod.parent.parent.parent / "__init__.py").touch()
    mongod.write_text("#!/bin/sh\necho 'error while loading shared libraries: libcurl.so.4' >&2; exit 127\n")
    mongod.chmod(0o755)
    error = hold(PYTHONPATH=str(tmp_path / "wheel")).release()
    assert "libcurl.so.4" in error
    assert "apt-get install libcurl4" in error
    assert "MONGODB_URI" in error


def test_the_error_of_a_missing_wheel_says_what_to_set(hold, tmp_path):
    (tmp_path / "wheel" / "fiftyone").mkdir(parents=True)
    (tmp_path / "wheel" / "fiftyone" / "__init__.py").touch()
    error = hold(PYTHONPATH=str(tmp_path / "wheel")).release()
    assert "set MONGODB_URI" in error.splitlines()[-1]


@pytest.mark.parametrize("command", ["help", "check"])
def test_commands_without_database_access_start_no_server(command, tmp_path):
    subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=BASE_DIR,
        env={**os.environ, "VAR_DIR": str(tmp_path), "MONGODB_URI": ""},
        check=True,
        capture_output=True,
    )
    assert not list(tmp_path.glob("*mongodb"))
