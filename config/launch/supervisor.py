"""Everything the product runs on one machine, started in order and stopped in order.

The supervisor is the process of `manage.py serve`. It runs

    the database   an embedded mongod, unless MONGODB_URI names a server
    the model      the local one, unless another provider is configured
    the server     granian with its workers
    the jobs       what nobody waits for, unless JOBS says no

and each of them ends with it, whatever ends it. Neither model, server nor jobs are started again in
place: when one ends by itself all end, and whoever started them (a person, systemd, a container
runtime) learns it from the exit code.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from config.launch import locks
from config.launch.parent_death import guarded
from core.mongo import embedded
from llm.route import default_route

#: Folders whose changes restart the workers in development. Never the whole project: the
#: database writes into it all the time.
RELOADED = ("config", "core", "console", "accounts", "tenants", "chat", "llm", "templates")
MODEL_SECONDS = 60
SERVER_SECONDS = 60
#: What a part may take to end after its last request.
END_SECONDS = 5
POLL_SECONDS = 0.1


class Failed(Exception):
    """The product cannot start or go on; the text says why and what to do."""


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal: like KeyboardInterrupt, no failure to be caught."""


@dataclass
class Part:
    name: str
    process: subprocess.Popen

    @classmethod
    def start(cls, name: str, command: list[str], **options: Any) -> Part:
        process = subprocess.Popen(  # noqa: S603  (our own command, no shell)
            guarded(command),
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which keeps the order.
            **options,
        )
        return cls(name, process)

    def stop(self, within_seconds: float) -> None:
        """Ask it to end; kill it, with all it started, if it has not after `within_seconds`."""
        self.process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(within_seconds)
        finally:  # Also when being asked to hurry cuts the waiting short.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Supervisor:
    """One start of the product. `say` gets a line for people at every step."""

    def __init__(self, *, reload: bool, seed: bool, say: Callable[[str], None]) -> None:
        self.reload = reload
        self.seed = seed
        self.say = say
        self.url = f"http://{_reachable(settings.HOST)}:{settings.PORT}"
        self.model: Part | None = None
        self.server: Part | None = None
        self.jobs: Part | None = None

    def run(self) -> None:
        """Serve until asked to stop. Raises Failed, or locks.Unavailable if something is in the way."""
        with (
            _stop_signals(),
            locks.folder(settings.VAR_DIR, note=f"on {self.url} (pid {os.getpid()})"),
            locks.port(settings.HOST, settings.PORT),
        ):
            try:
                self._start()
                self._watch()
            except StopAsked:
                self.say("Stopping, after the requests now running. Ask again to stop at once.")
            finally:
                self._stop()

    # -- Start ---------------------------------------------------------------

    def _start(self) -> None:
        began = time.monotonic()
        self._start_model()  # Loads while the database starts.
        uri = self._start_database()
        self._migrate()
        self._start_server({"MONGODB_URI": uri, "LOCAL_BASE_URL": self._model_url()})
        self._await_server()
        self._start_jobs({"MONGODB_URI": uri})
        demo = self._seed()  # Last: a start that fails must not spend what is shown only once.
        connection.close_pool()  # The supervisor itself needs the database no more.
        self.say(
            f"Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.\n"
            f"  API      {self.url}/api, explained at {self.url}/api/docs\n"
            f"  Console  {self.url}/admin/"
        )
        if demo:
            self.say(demo)

    def _start_model(self) -> None:
        """Start the local model where the route needs it, which it does when nothing else is configured."""
        route = default_route()
        local = settings.LLM_PROVIDERS["local"]
        if local["base_url"] or (route and all(target.provider != "local" for target in route)):
            return
        self.say("Starting the local model.")
        command = [sys.executable, "-m", "llm.local_model", local["model"]]
        self.model = Part.start("The local model", command, stdout=subprocess.PIPE, text=True)

    def _start_database(self) -> str:
        """Return the URI of the database, started if none is configured."""
        if settings.MONGODB_URI:
            return settings.MONGODB_URI
        self.say("Starting the embedded MongoDB.")
        return embedded.ensure(embedded.data_dir(settings))

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing and settings.PRODUCTION:
            raise Failed(f"{len(missing)} migrations are missing. First run: python manage.py migrate")
        if missing:
            self.say(f"Preparing the database: {len(missing)} migrations.")
            call_command("migrate", interactive=False, verbosity=0)

    def _model_url(self) -> str:
        """Return the base URL of the local model, empty without one: the rest runs all the same."""
        if not self.model:
            return settings.LLM_PROVIDERS["local"]["base_url"]
        answer = self.model.process.stdout
        url = answer.readline().strip() if select.select([answer], [], [], MODEL_SECONDS)[0] else ""
        if not url:
            self.model.stop(END_SECONDS)
            self.model = None
            self.say("The local model did not start; without another provider no message is answered.")
        return url

    def _start_server(self, environment: dict[str, str]) -> None:
        self.say("Starting the server.")
        self.server = Part.start("The server", self._server_command(), env=os.environ | environment)

    def _start_jobs(self, environment: dict[str, str]) -> None:
        if settings.RUN_JOBS:
            command = [sys.executable, "manage.py", "run_jobs", "--loop"]
            self.jobs = Part.start("The jobs", command, env=os.environ | environment)

    def _seed(self) -> str:
        """Return what there is to tell about the demo tenant, made at the first start."""
        told = io.StringIO()
        if self.seed:
            call_command("seed_demo", url=self.url, stdout=told)
        return told.getvalue()

    def _await_server(self) -> None:
        deadline = time.monotonic() + SERVER_SECONDS
        while not self._is_healthy():
            if self.server.process.poll() is not None:
                raise Failed("The server ended while it started; the reason stands above.")
            if time.monotonic() > deadline:
                raise Failed(f"The server did not answer {self.url}/health within {SERVER_SECONDS} s.")
            time.sleep(POLL_SECONDS)

    def _server_command(self) -> list[str]:
        options = {
            "--interface": "wsgi",
            "--host": settings.HOST,
            "--port": settings.PORT,
            "--workers": settings.WORKERS or os.cpu_count() or 1,
            "--blocking-threads": settings.THREADS,
            "--backpressure": settings.THREADS,
            # By default idle threads end after 30 s, and the next burst starts cold.
            "--blocking-threads-idle-timeout": 600,
            "--workers-kill-timeout": min(math.ceil(settings.DRAIN_SECONDS + END_SECONDS), 1800),
            "--log-level": "error",
        }
        switches = ["--no-ws", "--no-access-log", "--respawn-failed-workers"]
        if self.reload:
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
            "config.wsgi:application",
        ]

    def _is_healthy(self) -> bool:
        host = settings.ALLOWED_HOSTS[0].lstrip(".").replace("*", "localhost")
        asked = http.client.HTTPConnection(_reachable(settings.HOST), settings.PORT, timeout=2)
        try:
            asked.request("GET", "/health", headers={"Host": host})
            return asked.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asked.close()

    # -- Run and stop --------------------------------------------------------

    def _watch(self) -> None:
        """Return never: raise Failed as soon as a part has ended by itself."""
        while True:
            for part in filter(None, (self.server, self.jobs, self.model)):
                if (code := part.process.poll()) is not None:
                    raise Failed(f"{part.name} ended by itself ({_spoken(code)}); the rest is stopped too.")
            time.sleep(POLL_SECONDS)

    def _stop(self) -> None:
        """The jobs, which may stop anywhere; the server, which finishes its requests; what these need."""
        steps: list[Callable[[], None]] = []
        if jobs := self.jobs:
            steps.append(lambda: jobs.stop(END_SECONDS))
        if server := self.server:
            steps.append(lambda: server.stop(settings.DRAIN_SECONDS + END_SECONDS + 1))
        if model := self.model:
            steps.append(lambda: model.stop(END_SECONDS))
        for step in (*steps, embedded.stop):
            with contextlib.suppress(StopAsked):  # Asked to hurry: the step is cut short, the others follow.
                step()


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    def ask(number: int, frame: object) -> None:
        raise StopAsked

    kept = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _reachable(host: str) -> str:
    """Return an address by which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _spoken(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
