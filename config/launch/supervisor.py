"""All processes of the product on one machine, started in order and stopped in order.

The supervisor is the process of `manage.py serve`. It runs

    the database   an embedded mongod, unless MONGODB_URI is set
    the model      the local one, unless another provider is configured
    the server     granian with its workers
    the jobs       periodic background jobs, unless JOBS is false

and they all end with it, however it ends. Workers, model and jobs are restarted if they end, and the database
with the next query. If the server ends as a whole, the supervisor stops the others and fails, and its caller
(a person, systemd, a container runtime) decides.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from config.checks import DEPLOYMENT, missing_migrations
from config.launch import open_files
from config.launch.locks import lock_folder, lock_port
from config.launch.processes import ManagedProcess, RestartedProcess, exit_status
from core.metrics import MULTIPROCESS_FOLDER
from core.mongo import database, embedded
from core.mongo.deployment import database_problem
from core.ports import free_port
from llm.route import default_route

#: Folders whose changes restart the workers in development. Not the whole project: the database
#: writes into it all the time.
RELOADED = ("config", "core", "console", "accounts", "tenants", "chat", "llm", "templates")
MODEL_SECONDS = 60
SERVER_SECONDS = 60
#: How long a process may take to end after its last request.
END_SECONDS = 5
POLL_SECONDS = 0.1
LISTEN_BACKLOG = 4096
#: Open files of a worker beside connections and streams, each of which has one to a provider.
OTHER_FILES = 512
#: The request line and all headers of a request; the application has smaller bounds (core.api.middleware).
MAX_HEAD_BYTES = 64 * 1024
HEADER_SECONDS = 10


#: Settings of glibc's allocator. By default dozens of threads have memory of their own to allocate from,
#: which keeps the size of the largest bodies: a worker has 550 MB after a minute of large ones, with these
#: settings 120 MB.
#: https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(256 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024),
}


class SupervisorError(Exception):
    """The product can't start, or a process of it ended; the message says why and what to do."""


class StopRequested(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal. Like KeyboardInterrupt not an error, so no handler catches it."""


class Supervisor:
    """One start of the product. `report` gets a line of text at every step."""

    def __init__(self, *, reload: bool, seed: bool, report: Callable[[str], None]) -> None:
        self._reload = reload
        self._seed = seed
        self._report = report
        self._url = f"http://{_reachable(settings.HOST)}:{settings.PORT}"
        self._model: RestartedProcess | None = None
        self._server: ManagedProcess | None = None
        self._jobs: RestartedProcess | None = None
        self._metrics: dict[str, str] = {}

    def run(self) -> None:
        """Serve until a stop is requested. Raises SupervisorError, or LockError because of another start."""
        with (
            _stop_signals(),
            lock_folder(settings.VAR_DIR, holder=f"on {self._url} (pid {os.getpid()})"),
            lock_port(settings.HOST, settings.PORT),
        ):
            try:
                self._start()
                self._watch()
            except StopRequested:
                self._report("Stopping, after the requests now running. Once more stops at once.")
            finally:
                self._stop()

    # -- Start ---------------------------------------------------------------

    def _start(self) -> None:
        began = time.monotonic()
        self._model = self._start_model()  # Loads while the database starts.
        uri = self._start_database()
        self._migrate()
        tags = [Tags.database, DEPLOYMENT]
        for warning in run_checks(tags=tags, databases=["default"], include_deployment_checks=True):
            self._report(f"Warning: {warning.msg} {warning.hint or ''}".rstrip())
        self._metrics = {MULTIPROCESS_FOLDER: str(_empty_folder(settings.VAR_DIR / "metrics"))}
        self._server = self._start_server({"MONGODB_URI": uri, "LOCAL_BASE_URL": self._wait_for_model()})
        self._wait_for_server(self._server)
        self._jobs = self._start_jobs({"MONGODB_URI": uri})
        demo = self._seed_demo()  # Last: a start that fails must not use up what is shown only once.
        database.close()  # The supervisor itself uses it no more.
        self._report(
            f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.\n"
            f"  API      {self._url}/api, documented at {self._url}/api/docs\n"
            f"  Console  {self._url}/admin/"
        )
        if demo:
            self._report(demo)

    def _start_model(self) -> RestartedProcess | None:
        """Start the local model if the default route uses it, as it does when nothing else is configured."""
        route = default_route()
        local = settings.LLM_PROVIDERS["local"]
        if local["base_url"] or (route and all(target.provider != "local" for target in route)):
            return None
        self._report("Starting the local model.")
        # Always the same port, which the server is started with.
        command = [sys.executable, "-m", "llm.local_model", local["model"], str(free_port())]
        return RestartedProcess(
            lambda: ManagedProcess.start("The local model", command, stdout=subprocess.PIPE, text=True),
            self._report,
        )

    def _start_database(self) -> str:
        """Return the URI of the database, started if none is configured."""
        uri = str(settings.MONGODB_URI)
        if not uri:
            self._report("Starting the embedded MongoDB.")
            try:
                uri = embedded.ensure(embedded.data_dir(settings))
            except (ImproperlyConfigured, embedded.EmbeddedServerError) as error:
                raise SupervisorError(str(error)) from error
        if problem := database_problem():
            raise SupervisorError(str(problem))
        return uri

    def _migrate(self) -> None:
        missing = missing_migrations()
        if missing and settings.PRODUCTION:
            raise SupervisorError(f"{missing} migrations are missing. First run: python manage.py migrate")
        if missing:
            self._report(f"Preparing the database: {missing} migrations.")
            call_command("migrate", interactive=False, verbosity=0)

    def _wait_for_model(self) -> str:
        """Return the base URL of the local model, "" without one: the rest runs all the same."""
        if not self._model:
            return str(settings.LLM_PROVIDERS["local"]["base_url"])
        output: Any = self._model.current.process.stdout
        url = str(output.readline()).strip() if select.select([output], [], [], MODEL_SECONDS)[0] else ""
        if not url:
            self._model.stop(END_SECONDS)
            self._model = None
            self._report("The local model did not start; without another provider no message gets a reply.")
        return url

    def _start_server(self, environment: dict[str, str]) -> ManagedProcess:
        self._report("Starting the server.")
        environment = ALLOCATOR | os.environ | self._metrics | environment
        return ManagedProcess.start("The server", self._server_command(), env=environment)

    def _start_jobs(self, environment: dict[str, str]) -> RestartedProcess | None:
        if not settings.RUN_JOBS:
            return None
        command = [sys.executable, "manage.py", "run_jobs", "--loop"]
        environment = os.environ | self._metrics | environment
        return RestartedProcess(
            lambda: ManagedProcess.start("The jobs process", command, env=environment),
            self._report,
        )

    def _seed_demo(self) -> str:
        """Return the text to show about the demo tenant, created at the first start."""
        output = io.StringIO()
        if self._seed:
            call_command("seed_demo", url=self._url, stdout=output)
        return output.getvalue()

    def _wait_for_server(self, server: ManagedProcess) -> None:
        deadline = time.monotonic() + SERVER_SECONDS
        while not self._is_healthy():
            if server.exit_code is not None:
                raise SupervisorError("The server ended while it started; the reason is above.")
            if time.monotonic() > deadline:
                raise SupervisorError(
                    f"The server did not answer {self._url}/health within {SERVER_SECONDS} s."
                )
            time.sleep(POLL_SECONDS)

    def _server_command(self) -> list[str]:
        options = {
            "--interface": "rsgi",
            "--host": settings.HOST,
            "--port": settings.PORT,
            "--workers": settings.WORKERS or os.cpu_count() or 1,
            # granian's name for the number of connections that it accepts.
            "--backpressure": self._connections(),
            "--backlog": LISTEN_BACKLOG,
            # With HTTP/2 negotiated on the first bytes, a connection that sends none would never end.
            "--http": "1",
            # Also ends idle connections: the time until the next request counts as reading its headers.
            "--http1-header-read-timeout": HEADER_SECONDS * 1000,
            "--http1-buffer-size": MAX_HEAD_BYTES,
            "--workers-kill-timeout": min(math.ceil(settings.DRAIN_SECONDS + END_SECONDS), 1800),
            "--log-level": "error",
        }
        switches = ["--no-ws", "--no-access-log", "--respawn-failed-workers"]
        if self._reload:
            switches += ["--reload", "--reload-ignore-worker-failure"]
            folders = (settings.BASE_DIR / name for name in RELOADED)
            switches += [f"--reload-paths={folder}" for folder in folders if folder.is_dir()]
        words = [str(word) for pair in options.items() for word in pair]
        return [
            sys.executable,
            "-m",
            "config.launch.granian_server",
            *words,
            *switches,
            "config.rsgi:application",
        ]

    def _connections(self) -> int:
        """Return how many connections a worker takes: fewer than configured if it can't open the files."""
        wanted: int = settings.CONNECTIONS
        most: int = max(1, open_files.limit() - settings.STREAMS - OTHER_FILES)
        if most < wanted:
            self._report(
                f"A worker takes {most} connections instead of {wanted}: the limit of open files"
                f" (ulimit -Hn) is {open_files.limit()}."
            )
        return min(most, wanted)

    def _is_healthy(self) -> bool:
        server = http.client.HTTPConnection(_reachable(settings.HOST), settings.PORT, timeout=2)
        try:
            server.request("GET", "/health")
            return server.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            server.close()

    # -- Run and stop --------------------------------------------------------

    def _watch(self) -> None:
        """Restart what can be restarted. Raises SupervisorError as soon as the server ends."""
        while True:
            if self._server and (code := self._server.exit_code) is not None:
                raise SupervisorError(
                    f"{self._server.name} ended by itself ({exit_status(code)}); the rest is stopped too."
                )
            for process in filter(None, (self._jobs, self._model)):
                process.watch()
            time.sleep(POLL_SECONDS)

    def _stop(self) -> None:
        """Stop the jobs, which may stop anywhere; then the server, which drains; then what both need."""
        timeouts: tuple[tuple[ManagedProcess | RestartedProcess | None, float], ...] = (
            (self._jobs, END_SECONDS),
            (self._server, settings.DRAIN_SECONDS + END_SECONDS + 1),
            (self._model, END_SECONDS),
        )
        for process, timeout_seconds in timeouts:
            # A second request to stop interrupts one wait and kills that process; the others follow.
            with contextlib.suppress(StopRequested):
                if process:
                    process.stop(timeout_seconds)
        with contextlib.suppress(StopRequested):
            embedded.stop()


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Raise StopRequested in the main thread when a signal asks this process to stop."""

    def stop(number: int, frame: object) -> None:
        raise StopRequested

    previous = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _empty_folder(path: Path) -> Path:
    """Return the folder for the counters of this start; those of the last one would be counted again."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def _reachable(host: str) -> str:
    """Return an address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
