"""Answers that break after their first tokens, or end in an unusual way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from qa.fake_provider.call import Call
from qa.fake_provider.faults.connections import repeat
from qa.fake_provider.faults.registry import TICK_SECONDS, FaultSpec, fault
from qa.fake_provider.wire_formats import GeminiFormat


@fault("cut")
async def cut(spec: FaultSpec, call: Call) -> None:
    """FIN without the end of the HTTP body."""
    await call.send_partial_answer(spec.after)
    call.response.close()


@fault("cut-reset")
async def cut_reset(spec: FaultSpec, call: Call) -> None:
    await call.send_partial_answer(spec.after)
    await asyncio.sleep(TICK_SECONDS)  # So that the tokens arrive before the reset.
    call.response.reset()


@fault("cut-clean")
async def cut_clean(spec: FaultSpec, call: Call) -> None:
    """A well-formed end of the body, in the middle of the answer."""
    await call.send_partial_answer(spec.after)
    await call.response.end()


@fault("stall")
async def stall(spec: FaultSpec, call: Call) -> None:
    """Nothing follows, and the connection stays open."""
    await call.send_partial_answer(spec.after)
    await asyncio.Event().wait()


@fault("comments-mid-stream")
async def comments_mid_stream(spec: FaultSpec, call: Call) -> None:
    await call.send_partial_answer(spec.after)
    await repeat(call, b": PROCESSING\n\n")


@fault("dribbled-event")
async def dribbled_event(spec: FaultSpec, call: Call) -> None:
    """An event that grows by one byte at a time and never ends."""
    await call.send_partial_answer(spec.after)
    await call.response.send(b'data: {"pad": "')
    await repeat(call, b"x")


@fault("malformed")
async def malformed(spec: FaultSpec, call: Call) -> None:
    await call.send_partial_answer(spec.after)
    await call.response.send(b'data: {"choices": [{"delta": {"content": "cut of\n\n')
    await call.response.end()


@fault("malformed-chunking")
async def malformed_chunking(spec: FaultSpec, call: Call) -> None:
    await call.send_partial_answer(spec.after)
    await call.response.send_raw(b"-7\r\nnonsense\r\n")
    await asyncio.Event().wait()


@fault("error-event")
async def error_event(spec: FaultSpec, call: Call) -> None:
    """An error in the middle of a stream as Groq sends it, then EOF without [DONE]."""
    await call.send_partial_answer(spec.after)
    error = call.wire.error(503, "service_unavailable", "The model crashed")
    name = b"" if isinstance(call.wire, GeminiFormat) else b"event: error\n"
    await call.response.send(name + call.event(error))
    await call.response.end()


@fault("error-chunk")
async def error_chunk(spec: FaultSpec, call: Call) -> None:
    """An error in the middle of a stream as OpenRouter sends it: beside choices, then [DONE]."""
    await call.send_partial_answer(spec.after)
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
    error = call.wire.error(502, "provider_unavailable", "Upstream disconnected")
    await call.response.send(call.event({"choices": [choice]} | error))
    await call.response.send(call.wire.done)
    await call.response.end()


@fault("content-filter")
async def content_filter(spec: FaultSpec, call: Call) -> None:
    text = "".join(call.answer.tokens[: spec.after])
    await replace(call, answer=replace(call.answer, text=text, finish="content_filter")).send_answer()


@fault("no-done")
async def no_done(spec: FaultSpec, call: Call) -> None:
    await call.send_partial_answer(None)
    await call.response.end()


@fault("no-finish")
async def no_finish(spec: FaultSpec, call: Call) -> None:
    """The complete text and [DONE], without a finish reason."""
    await call.send_partial_answer(len(call.answer.tokens))
    await call.response.send(call.wire.done)
    await call.response.end()


@fault("no-end")
async def no_end(spec: FaultSpec, call: Call) -> None:
    """The complete text, and nothing that says so."""
    await call.send_partial_answer(len(call.answer.tokens))
    await call.response.end()


@fault("open-end")
async def open_end(spec: FaultSpec, call: Call) -> None:
    """A complete answer whose body never ends."""
    await call.send_partial_answer(None)
    await call.response.send(call.wire.done)
    await asyncio.Event().wait()
