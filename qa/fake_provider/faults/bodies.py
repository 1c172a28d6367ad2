"""Bodies of a 200 that are no answer, of an unusual form, or without end."""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import replace

from qa.fake_provider.call import JSON, SSE, Call
from qa.fake_provider.faults.registry import FaultSpec, fault


@fault("html")
async def html(spec: FaultSpec, call: Call) -> None:
    page = b"<!DOCTYPE html><html><body>Under maintenance</body></html>"
    await call.response.send_all(200, {"Content-Type": "text/html"}, page)


@fault("empty")
async def empty(spec: FaultSpec, call: Call) -> None:
    await call.response.send_all(200, SSE if call.request.stream else JSON, b"")


@fault("empty-answer")
async def empty_answer(spec: FaultSpec, call: Call) -> None:
    await replace(call, answer=replace(call.answer, text="", tool_calls=())).send_answer()


@fault("wrong-encoding")
async def wrong_encoding(spec: FaultSpec, call: Call) -> None:
    """UTF-16 instead of UTF-8."""
    await call.response.send_all(200, JSON, json.dumps(call.completion()).encode("utf-16"))


@fault("gzip")
async def gzipped(spec: FaultSpec, call: Call) -> None:
    """A complete, healthy answer, compressed although the request does not accept that."""
    if call.request.stream:
        content, content_type = call.events(), SSE
    else:
        content, content_type = json.dumps(call.completion()).encode(), JSON
    await call.response.start(200, content_type | {"Content-Encoding": "gzip"})
    compressed = gzip.compress(content)
    for start in range(0, len(compressed), 7):
        await call.response.send(compressed[start : start + 7])
    await call.response.end()


@fault("huge-token")
async def huge_token(spec: FaultSpec, call: Call) -> None:
    """A complete, healthy answer of one token of 1 MB."""
    await replace(call, answer=replace(call.answer, text="x" * 1_000_000)).send_answer()


@fault("endless")
async def endless(spec: FaultSpec, call: Call) -> None:
    """Tokens without end, as fast as the client reads."""
    many = replace(call.answer, text=" ".join(["word"] * 500))
    events = b"".join(
        call.event(chunk) for chunk in itertools.islice(call.wire.chunks(call.request, many), 500)
    )
    await call.response.start(200, SSE)
    while True:
        await call.response.send(events)


@fault("endless-line")
async def endless_line(spec: FaultSpec, call: Call) -> None:
    await call.response.start(200, SSE if call.request.stream else JSON)
    await call.response.send(b'data: {"text": "' if call.request.stream else b'{"text": "')
    while True:
        await call.response.send(b"x" * 65536)


@fault("json-for-stream")
async def json_for_stream(spec: FaultSpec, call: Call) -> None:
    await call.send_json(200, call.completion())


@fault("sse-for-json")
async def sse_for_json(spec: FaultSpec, call: Call) -> None:
    await replace(call, request=replace(call.request, stream=True)).send_answer()


@fault("bytewise")
async def bytewise(spec: FaultSpec, call: Call) -> None:
    """A complete, healthy answer, one byte a write and a chunk."""
    await call.response.start(200, SSE)
    for byte in call.events():
        await call.response.send(bytes([byte]))
    await call.response.end()


@fault("unknown-tool")
async def unknown_tool(spec: FaultSpec, call: Call) -> None:
    calls = (("format_disk", {"now": True}),)
    await replace(call, answer=replace(call.answer, text="", tool_calls=calls)).send_answer()
