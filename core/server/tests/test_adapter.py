"""A response is sent from memory or from a file, and always whole."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse

from core.errors import Forbidden
from core.server import adapter as adapters
from core.server.adapter import MAX_IN_MEMORY, SlotPools, WSGIAdapter
from core.server.bodies import BodyLimits, BodyReader
from core.server.slots import FairSlots

LARGE = b"x" * (MAX_IN_MEMORY + 1)


class Protocol:
    """What the adapter passed to the server."""

    def __init__(self) -> None:
        self.way = ""
        self.status = 0
        self.body = b""
        self.length = ""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._sent("memory", status, headers, body)

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self._sent("file", status, headers, Path(file).read_bytes())

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Protocol:
        self.way = "events"
        return self

    def send_bytes(self, data: bytes) -> Any:
        self.body += data
        return asyncio.sleep(0)

    def _sent(self, way: str, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.way, self.body, self.length = (
            status,
            way,
            body,
            dict(headers).get("content-length", ""),
        )


def served(response: HttpResponse | StreamingHttpResponse) -> Protocol:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(f"{response.status_code} ", list(response.items()))
        return response

    async def exchange() -> Protocol:
        adapter = WSGIAdapter(
            application,
            pools=SlotPools(FairSlots(1, max_waiting=1, max_wait_seconds=1), {}),
            bodies=BodyReader(limits=BodyLimits(1), max_memory=1, stall_seconds=1, total_seconds=1),
            client_of=lambda environ: "192.0.2.1",
        )
        protocol = Protocol()
        scope = SimpleNamespace(
            http_version="1.1",
            server="127.0.0.1:1",
            client="192.0.2.1:1",
            scheme="http",
            method="GET",
            path="/",
            query_string="",
            headers={},
        )
        await adapter.__rsgi__(scope, protocol)  # type: ignore[arg-type]  # what the adapter uses of it
        return protocol

    return asyncio.run(exchange())


@pytest.mark.parametrize("make", [HttpResponse, lambda body: StreamingHttpResponse(iter([body]))])
@pytest.mark.parametrize(("body", "way"), [(b"", "memory"), (LARGE[1:], "memory"), (LARGE, "file")])
def test_a_large_response_is_sent_from_a_file(make, body, way):
    sent = served(make(body))
    assert (sent.way, sent.body) == (way, body)


def test_a_streamed_response_has_its_length():
    assert served(StreamingHttpResponse(iter([b"ab", b"c"]))).length == "3"


def test_events_are_sent_one_by_one_unless_they_are_whole():
    def events(*, is_whole: bool) -> StreamingHttpResponse:
        response = StreamingHttpResponse(iter([LARGE, LARGE]), content_type="text/event-stream")
        response.is_whole = is_whole
        return response

    for is_whole, way in ((False, "events"), (True, "file")):
        sent = served(events(is_whole=is_whole))
        assert (sent.way, sent.body) == (way, LARGE * 2)


def test_without_temporary_files_a_large_response_is_sent_from_memory(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    sent = served(HttpResponse(LARGE))
    assert (sent.way, sent.body) == ("memory", LARGE)


def test_more_files_than_may_be_open_are_sent_from_memory(monkeypatch):
    monkeypatch.setattr(adapters, "_MAX_WAITING_FILES", 0)
    sent = served(HttpResponse(LARGE))
    assert (sent.way, sent.body) == ("memory", LARGE)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Forbidden("No more.", "access_ended"), 403, "access_ended"), (KeyError("x"), 500, "server_error")],
)
def test_a_response_that_fails_while_it_is_made_is_a_problem(error, status, code):
    def chunks() -> Iterator[bytes]:
        yield b"first"
        raise error

    sent = served(StreamingHttpResponse(chunks()))
    assert (sent.status, json.loads(sent.body)["code"]) == (status, code)


class View:
    """Refers to its request, which refers to it."""

    request: SimpleNamespace


@pytest.mark.parametrize("is_enough", [True, False])
def test_what_large_requests_held_is_freed_when_they_end(monkeypatch, is_enough):
    monkeypatch.setattr(adapters, "COLLECTED_BYTES", 0 if is_enough else 1)
    held = []

    def chunks() -> Iterator[bytes]:
        view = View()
        view.request = SimpleNamespace(view=view)
        held.append(weakref.ref(view))
        yield b""

    gc.disable()
    try:
        served(StreamingHttpResponse(chunks()))
        assert (held[0]() is None) is is_enough
    finally:
        gc.enable()
