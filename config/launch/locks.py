"""Locks that only one start may hold: on the data folder and on the port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

#: The processes of a killed server need a moment to release its port.
_PORT_TIMEOUT_SECONDS = 3.0


class LockError(Exception):
    """The folder or port can't be used; the message says why and what to do."""


@contextlib.contextmanager
def lock_folder(var_dir: Path, holder: str) -> Iterator[None]:
    """Lock `var_dir` until the block ends or this process dies; other starts are shown `holder`.

    The kernel releases the lock with the process, so nothing stale is left after `kill -9`.
    Raises LockError with the holder's text.
    """
    try:
        var_dir.mkdir(parents=True, exist_ok=True)
        lock = (var_dir / "serve.lock").open("a+")
    except OSError as error:
        raise LockError(f"{var_dir} cannot be written ({error.strerror}). Set VAR_DIR.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            other = lock.read().strip() or "another start"
            raise LockError(
                f"Already running {other}. Stop it, or set another VAR_DIR and PORT to run a second one."
            ) from error
        lock.truncate(0)
        lock.write(holder)
        lock.flush()
        yield


@contextlib.contextmanager
def lock_port(host: str, port: int) -> Iterator[None]:
    """Lock `port` on `host` against other starts until the block ends or this process dies.

    The server's own bind would not notice a conflict: its workers share the port (SO_REUSEPORT),
    so two servers would each get half of the requests. Raises LockError if any program listens there.
    """
    if not 0 < port < 65536:
        raise LockError(f"PORT must be between 1 and 65535, not {port}.")
    with socket.socket(socket.AF_UNIX) as lock:
        if sys.platform == "linux":
            # An abstract name: without a file, per network namespace as ports are, released with the process.
            try:
                lock.bind(f"\0chat-agent-platform/{host}:{port}")
            except OSError as error:
                raise LockError(f"Port {port} is used by another start. Set another PORT.") from error
        _wait_until_free(host, port)
        yield


def _wait_until_free(host: str, port: int) -> None:
    deadline = time.monotonic() + _PORT_TIMEOUT_SECONDS
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                message = f"Cannot listen on {host}:{port} ({error}). Set another HOST or PORT."
                raise LockError(message) from error
            if time.monotonic() > deadline:
                message = f"Port {port} on {host} is taken by another program. Stop it, or set another PORT."
                raise LockError(message) from error
            time.sleep(0.05)
