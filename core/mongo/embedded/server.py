"""The embedded MongoDB server of this process: started, joined and restarted by a thread per data folder."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from core.mongo.embedded.data_folder import HOST, POLL_SECONDS, START_SECONDS, DataFolder, EmbeddedServerError

logger = logging.getLogger(__name__)


def data_dir(settings: Any) -> Path:
    """Return the data folder of these settings. Tests never share that of a running server."""
    return Path(settings.VAR_DIR) / ("test-mongodb" if settings.DJANGO_ENV == "test" else "mongodb")


def ensure(data_dir: Path) -> str:
    """Return the URI of the server of this folder, started or joined as needed; cheap when called again.

    Raises ImproperlyConfigured where no embedded server can run, and EmbeddedServerError if it does
    not become usable.
    """
    data_dir = data_dir.resolve()
    with _lock:
        thread = _threads.get(data_dir)
        if thread is None or not thread.is_alive():
            thread = _threads[data_dir] = _ServerThread(data_dir)
            thread.start()
    return thread.wait_until_ready()


def stop() -> None:
    """Stop using every server; those that no other process uses end."""
    with _lock:
        threads = list(_threads.values())
        _threads.clear()
    for thread in threads:
        thread.stop()


class _ServerThread(threading.Thread):
    """Keeps this process a user of one folder's server, and starts it whenever no other process has."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(name="embedded MongoDB", daemon=True)
        self._folder = DataFolder(data_dir)
        self._uri = ""
        self._failure: Exception | None = None
        self._ready = threading.Event()
        self._stopping = False
        self._user_lock: int | None = None

    def wait_until_ready(self) -> str:
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self._uri

    def stop(self) -> None:
        self._stopping = True
        self._release()

    def run(self) -> None:
        try:
            lock = self._lock_or_join()
            while not self._stopping:
                self._run_server(self._folder.wait_for_lock() if lock is None else lock)
                lock = None
        except Exception as error:  # Of any kind: raised again by wait_until_ready(), or logged.
            if self._ready.is_set():
                logger.exception("The embedded MongoDB ended and could not be started again.")
            self._failure = error
            self._release()
        self._ready.set()

    def _release(self) -> None:
        if self._user_lock:
            os.close(self._user_lock)
            self._user_lock = None

    def _lock_or_join(self) -> int | None:
        """Return the folder's lock, or None once a usable server of another process is joined.

        While a server is starting or stopping, neither is possible for a moment.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._user_lock = self._user_lock or self._folder.join_users()
            if self._user_lock and (lock := self._folder.try_lock()):
                return lock
            if self._user_lock and (port := self._folder.served_port()):
                self._set_ready(port)
                return None
            time.sleep(POLL_SECONDS)
        raise EmbeddedServerError(
            f"Another process holds {self._folder.lock_file}, but its MongoDB does not answer. "
            f"See {self._folder.log_file}, or end that process."
        )

    def _run_server(self, lock: int) -> None:
        """Start the server and wait until it ends."""
        try:
            if self._stopping:
                return
            server, port = self._folder.start(lock)
        finally:
            os.close(lock)  # The server has inherited a copy, which is closed when it ends.
        self._set_ready(port)
        code = server.wait()
        if not self._stopping:
            logger.warning("The embedded MongoDB ended with code %s; starting it again.", code)

    def _set_ready(self, port: int) -> None:
        self._uri = f"mongodb://{HOST}:{port}/?directConnection=true"
        self._ready.set()


_lock = threading.Lock()
_threads: dict[Path, _ServerThread] = {}


def _forget_threads() -> None:
    global _lock
    _lock = threading.Lock()
    _threads.clear()


# A forked child has the objects of these threads, but none of them runs there: it joins anew.
os.register_at_fork(after_in_child=_forget_threads)
