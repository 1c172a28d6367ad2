"""Checks of the product as production runs it.

    python -m qa.production deploy-check   Django's deployment checks under production settings
    python -m qa.production serve          serve from a virtual environment with requirements.txt alone

The second proves that no module of the product needs a development package: none is installed there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

from core.ports import free_port

BASE_DIR = Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 40
POLL_SECONDS = 0.1
SECRETS = ("SECRET_KEY", "JWT_ACCESS_SECRET", "JWT_REFRESH_SECRET", "API_KEY_PEPPER")


def environment(mongodb_uri: str, **variables: str) -> dict[str, str]:
    """Return the environment of a production process, with secrets that live for this call."""
    return {
        **os.environ,
        "DJANGO_ENV": "production",
        "ALLOWED_HOSTS": "127.0.0.1",
        "MONGODB_URI": mongodb_uri,
        **{name: secrets.token_urlsafe(48) for name in SECRETS},
        **variables,
    }


def manage(python: Path, *arguments: str, env: dict[str, str]) -> None:
    """Run a management command. Raises CalledProcessError if it fails."""
    subprocess.run([python, "manage.py", *arguments], cwd=BASE_DIR, env=env, check=True)  # noqa: S603 - no shell


def deploy_check() -> None:
    """Fail for any warning but that about the embedded MongoDB, which is out of support."""
    variables = {
        "ALLOWED_HOSTS": "chat.example.com",
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
        "EMAIL_FROM": "chat@example.com",
    }
    with tempfile.TemporaryDirectory(prefix="deploy-check-") as name, _database(Path(name)) as uri:
        env = environment(uri, **variables)
        manage(Path(sys.executable), "migrate", "--no-input", "--verbosity", "0", env=env)
        command = [sys.executable, "manage.py", "check", "--deploy"]
        result = subprocess.run(command, cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    print(result.stdout + result.stderr)
    if result.returncode or set(re.findall(r"\(([a-z_]+\.\w\d+)\)", result.stderr)) - {"mongo.W001"}:
        raise SystemExit("The deployment checks found something.")


def serve() -> None:
    with tempfile.TemporaryDirectory(prefix="production-check-") as name, _database(Path(name)) as uri:
        folder = Path(name)
        python = _install(folder / "venv")
        port = free_port()
        options = {"PORT": str(port), "VAR_DIR": str(folder / "var"), "WORKERS": "1", "GROQ_API_KEY": "-"}
        env = environment(uri, **options)
        manage(python, "migrate", "--no-input", "--verbosity", "0", env=env)
        manage(python, "collectstatic", "--no-input", "--dry-run", "--verbosity", "0", env=env)
        with _server(python, env):
            _await_ready(port)
            account = {"email": "ada@example.com", "password": secrets.token_urlsafe(12), "name": "Ada"}
            status = _post(port, "/api/auth/register", account)
            if status != http.HTTPStatus.CREATED:
                raise SystemExit(f"Registration answered {status}.")
    print("requirements.txt alone serves.")


def _install(folder: Path) -> Path:
    """Make a virtual environment with requirements.txt and return its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq"]
    subprocess.run([*pip, "install", "-r", str(BASE_DIR / "requirements.txt")], check=True)  # noqa: S603 - no shell
    return python


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    """Yield the URI of a database, run by this interpreter, which has the embedded server."""
    from core.mongo import embedded

    uri = embedded.ensure(folder / "mongodb")
    try:
        yield uri.replace("/?", "/chat-agent?", 1)
    finally:
        embedded.stop()


@contextlib.contextmanager
def _server(python: Path, env: dict[str, str]) -> Iterator[None]:
    """Run `manage.py serve`; it must end by itself after SIGTERM."""
    process = subprocess.Popen([python, "manage.py", "serve"], cwd=BASE_DIR, env=env)  # noqa: S603 - no shell
    try:
        yield
        process.send_signal(signal.SIGTERM)
        if code := process.wait(STOP_SECONDS):
            raise SystemExit(f"The server ended with exit code {code}.")
    finally:
        process.kill()
        process.wait()


def _await_ready(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while _status(port, "GET", "/ready") != http.HTTPStatus.OK:
        if time.monotonic() > deadline:
            raise SystemExit(f"The server is not ready after {START_SECONDS} s.")
        time.sleep(POLL_SECONDS)


def _post(port: int, path: str, body: dict[str, str]) -> int | None:
    return _status(port, "POST", path, json.dumps(body))


def _status(port: int, method: str, path: str, body: str | None = None) -> int | None:
    """Return the status of an answer, None while the server does not listen."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    {"deploy-check": deploy_check, "serve": serve}[sys.argv[1]]()
