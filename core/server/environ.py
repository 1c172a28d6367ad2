"""The WSGI environment of a request (PEP 3333)."""

from __future__ import annotations

import io
import sys
from typing import Any, Protocol

Environ = dict[str, Any]

_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}

#: A boundary has at most 70 characters.
_MAX_CONTENT_TYPE = 500


class Headers(Protocol):
    def get(self, key: str, default: str | None = None) -> str | None: ...
    def items(self) -> list[tuple[str, str]]: ...
    def __contains__(self, key: str) -> bool: ...


class Scope(Protocol):
    """What granian knows of a request. `client` and `server` are addresses with ports."""

    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Headers


def environ_of(scope: Scope, path_prefix: str = "") -> Environ:
    """Return the environment of a request without its body.

    A proxy may pass the prefix below which it serves the application on, or remove it.
    Of header names with an underscore none is passed on: in CGI's notation `X_Forwarded_For` would be
    `X-Forwarded-For`, which proxies remove only in that spelling.
    """
    server, _, port = scope.server.rpartition(":")
    path = scope.path.encode("utf-8", "surrogateescape").decode("latin-1")
    if path_prefix and f"{path}/".startswith(f"{path_prefix}/"):
        path = path.removeprefix(path_prefix) or "/"
    environ: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": path_prefix,
        "PATH_INFO": path,
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "SERVER_NAME": server.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        if "_" in name:
            continue
        key = _UNPREFIXED.get(name) or f"HTTP_{name.upper().replace('-', '_')}"
        if key in environ:
            value = f"{environ[key]}{';' if name == 'cookie' else ','}{value}"
        environ[key] = value
    if "CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = plain_content_type(environ["CONTENT_TYPE"])
    return environ


def plain_content_type(value: str) -> str:
    """Return the media type of a Content-Type and, of a form with files, its boundary.

    Django would parse all parameters before any middleware runs: in quadratic time, with a 500 for some
    encodings, and Python keeps the name of every charset that it does not know. Texts are UTF-8 here.
    """
    media_type, _, parameters = value[:_MAX_CONTENT_TYPE].partition(";")
    media_type = media_type.strip().lower()
    if media_type == "multipart/form-data":
        for parameter in parameters.split(";"):
            if parameter.strip().lower().startswith("boundary="):
                return f"{media_type}; {parameter.strip()}"
    return media_type


class RequestBody(io.BytesIO):
    """A body that is read once: what was read to its end takes no memory any longer."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._unread = len(body)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._unread -= len(data)
        if self._unread <= 0:
            self.seek(0)
            self.truncate()
        return data


def set_body(environ: Environ, body: bytes) -> None:
    """Add the body, whose length is known now even if it came in chunks."""
    environ["wsgi.input"] = RequestBody(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
