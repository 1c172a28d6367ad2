"""Connections that break or stay silent before the first token, and slow answers."""

from __future__ import annotations

import asyncio

from qa.fake_provider.call import SSE, Call
from qa.fake_provider.faults.registry import TICK_SECONDS, FaultSpec, fault


@fault("reset")
async def reset(spec: FaultSpec, call: Call) -> None:
    call.response.reset()


@fault("close")
async def close(spec: FaultSpec, call: Call) -> None:
    call.response.close()


@fault("silent")
async def silent(spec: FaultSpec, call: Call) -> None:
    await asyncio.Event().wait()


@fault("not-http")
async def not_http(spec: FaultSpec, call: Call) -> None:
    await call.response.send_raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    call.response.close()


@fault("dribbled-headers")
async def dribbled_headers(spec: FaultSpec, call: Call) -> None:
    await call.response.send_raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await call.response.send_raw(b"x")
        await asyncio.sleep(TICK_SECONDS)


@fault("slow-first-token")
async def slow_first_token(spec: FaultSpec, call: Call) -> None:
    if call.request.stream:
        await call.response.start(200, SSE)
        await asyncio.sleep(spec.wait)
        for chunk in call.wire.chunks(call.request, call.answer):
            await call.response.send(call.event(chunk))
        await call.response.send(call.wire.done)
        await call.response.end()
    else:
        await asyncio.sleep(spec.wait)
        await call.send_answer()


@fault("comments")
async def comments(spec: FaultSpec, call: Call) -> None:
    """Endless keep-alive comments, without a token."""
    await call.response.start(200, SSE)
    await repeat(call, b": PROCESSING\n\n")


@fault("empty-chunks")
async def empty_chunks(spec: FaultSpec, call: Call) -> None:
    await call.response.start(200, SSE)
    await repeat(call, call.event({"choices": [{"index": 0, "delta": {}}], "candidates": [{}]}))


async def repeat(call: Call, data: bytes) -> None:
    """Send `data` until the client disconnects."""
    while True:
        await call.response.send(data)
        await asyncio.sleep(TICK_SECONDS)
