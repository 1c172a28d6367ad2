"""Debian's chromium, for tests of what only a browser does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def launched() -> Iterator[Browser]:
    assert CHROMIUM, "chromium is not installed"
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread; the test's own queries are none of its tasks.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def browser_context(browser: Browser, base_url: str) -> Iterator[tuple[BrowserContext, list[str]]]:
    """Yield a context without cookies and storage, and the errors of its pages, blocked resources too."""
    errors: list[str] = []
    context = browser.new_context(base_url=base_url)
    context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context, errors
    context.close()


def browse(base_url: str, visit: Callable[[Page], None]) -> list[str]:
    """Run `visit(page)` in a browser; return the errors of its pages."""
    with launched() as browser, browser_context(browser, base_url) as (context, errors):
        visit(context.new_page())
    return errors


class _PageHandler(BaseHTTPRequestHandler):
    page: bytes

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def site_with(html: str) -> Iterator[str]:
    """Serve one page at every path of a site of its own; yield the site's origin."""
    handler = type("Handler", (_PageHandler,), {"page": html.encode()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
