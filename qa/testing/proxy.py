"""A small reverse proxy over real sockets, which does to requests what proxies in front of products do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Proxy:
    """How the proxy at `url` passes requests on.

    `host` is the Host that it sends, by default the client's; `adds` are headers, in which {client} is the
    client's address. A `prefix` is removed from paths, and paths without it get 404.
    """

    upstream: str
    host: str | None = None
    adds: dict[str, str] = field(default_factory=dict)
    prefix: str = ""

    @contextmanager
    def run(self) -> Iterator[str]:
        """Serve in threads; yield the URL of the proxy, without a path."""
        proxy = self

        class Handler(_Handler):
            rules = proxy

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, name="proxy")
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rules: Proxy

    def do_GET(self) -> None:
        rules = self.rules
        if not f"{self.path}/".startswith(f"{rules.prefix}/"):
            self.send_error(404)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if rules.host is not None:
            headers["Host"] = rules.host
        for name, value in rules.adds.items():
            added = value.format(client=self.client_address[0])
            before = headers.get(name)
            headers[name] = f"{before}, {added}" if before and name == "X-Forwarded-For" else added
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(urlsplit(rules.upstream).netloc, timeout=60)
        try:
            path = self.path.removeprefix(rules.prefix) or "/"
            connection.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            self._pass_back(connection.getresponse())
        finally:
            connection.close()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _pass_back(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status)
        content = response.read()
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
