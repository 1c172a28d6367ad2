"""What only one start may hold: the data folder and the port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

#: A killed server's processes need a moment to leave its port.
_PORT_PATIENCE_SECONDS = 3.0


class Unavailable(Exception):
    """What this start needs cannot be had; the text says why and what to do."""


@contextlib.contextmanager
def folder(var_dir: Path, note: str) -> Iterator[None]:
    """Hold `var_dir` until the block ends or this process dies; `note` tells others who holds it.

    The kernel frees the lock with its holder, so nothing stale is left after `kill -9`.
    Raises Unavailable with the holder's note.
    """
    try:
        var_dir.mkdir(parents=True, exist_ok=True)
        lock = (var_dir / "serve.lock").open("a+")
    except OSError as error:
        raise Unavailable(f"{var_dir} cannot be written ({error.strerror}). Set VAR_DIR.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "another start"
            raise Unavailable(
                f"Already running {holder}. Stop it, or set another VAR_DIR and PORT to run a second one."
            ) from error
        lock.truncate(0)
        lock.write(note)
        lock.flush()
        yield


@contextlib.contextmanager
def port(host: str, number: int) -> Iterator[None]:
    """Hold `number` on `host` against other starts until the block ends or this process dies.

    The server's own bind would not notice a conflict: its workers share the
    port (SO_REUSEPORT), so two servers would each get half of the requests.
    Raises Unavailable if anything listens there.
    """
    if not 0 < number < 65536:
        raise Unavailable(f"PORT must be between 1 and 65535, not {number}.")
    with socket.socket(socket.AF_UNIX) as claim:
        if sys.platform == "linux":
            # An abstract name: no file, per network like ports are, freed with its holder.
            try:
                claim.bind(f"\0chat-agent-platform/{host}:{number}")
            except OSError as error:
                raise Unavailable(
                    f"Port {number} is being used by another start. Set another PORT."
                ) from error
        _wait_until_free(host, number)
        yield


def _wait_until_free(host: str, number: int) -> None:
    deadline = time.monotonic() + _PORT_PATIENCE_SECONDS
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Unavailable(
                    f"Cannot listen on {host}:{number} ({error}). Set another HOST or PORT."
                ) from error
            if time.monotonic() > deadline:
                reason = f"Port {number} on {host} is taken by another program. Stop it, or set another PORT."
                raise Unavailable(reason) from error
            time.sleep(0.05)
