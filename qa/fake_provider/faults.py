"""Everything a provider can do wrong, by name, on every wire.

A fault is chosen by model name, `fault-<spec>`, or by a control script, `<spec>`:

    <name>[-after-<tokens>][-wait-<seconds>][-times-<calls>][-for-<seconds>]

`after`: tokens sent before it strikes (default 3). `wait`: seconds of a slow fault
or of a Retry-After (default 1). `times`: only the first calls of that model fail.
`for`: calls fail for that long after the first, which is flapping.
Example: `fault-cut-after-2-times-1` cuts the first answer after two tokens.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from qa.fake_provider.answers import Answer, Ask
from qa.fake_provider.connection import Reply
from qa.fake_provider.wires import GeminiWire, Wire

_SPEC = re.compile(
    r"(?P<name>.+?)(?:-after-(?P<after>\d+))?(?:-wait-(?P<wait>[\d.]+?)s?)?"
    r"(?:-times-(?P<times>\d+))?(?:-for-(?P<seconds>[\d.]+?)s?)?"
)
MODEL_PREFIX = "fault-"

_SSE = {"Content-Type": "text/event-stream"}
_JSON = {"Content-Type": "application/json"}
_TICK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    after: int = 3
    wait: float = 1.0
    times: int | None = None
    seconds: float | None = None


def parse(text: str) -> Spec:
    """Return the fault that `text` names. Raises ValueError for one that does not exist."""
    match = _SPEC.fullmatch(text.removeprefix(MODEL_PREFIX))
    if match is None or match["name"] not in NAMES:
        raise ValueError(f"{text!r} is no fault. Faults: {', '.join(NAMES)}")
    return Spec(
        match["name"],
        after=int(match["after"] or 3),
        wait=float(match["wait"] or 1),
        times=int(match["times"]) if match["times"] else None,
        seconds=float(match["seconds"]) if match["seconds"] else None,
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """One call being answered, or not. `headers` come from a control script."""

    reply: Reply
    wire: Wire
    ask: Ask
    answer: Answer
    headers: dict[str, str] = field(default_factory=dict)

    async def healthy(self) -> None:
        if self.ask.stream:
            await self.begin(None)
            await self.reply.send(self.wire.done)
            await self.reply.end()
        else:
            await asyncio.sleep(self.answer.seconds_first)
            await self.json(200, self.wire.whole(self.ask, self.answer))

    async def begin(self, after: int | None) -> None:
        """Send the head, and of the answer `after` tokens, or all; of a whole answer, half of it."""
        if self.ask.stream:
            await self.reply.start(200, _SSE | self.headers)
            if after is not None and not isinstance(self.wire, GeminiWire):
                after += 1  # The first chunk names the role and holds no token.
            chunks = self.wire.chunks(self.ask, self.answer)
            for number, chunk in enumerate(itertools.islice(chunks, after)):
                await asyncio.sleep(self.answer.seconds_between if number else self.answer.seconds_first)
                await self.reply.send(self.wire.event(chunk))
        else:
            await self.reply.start(200, _JSON | self.headers)
            content = json.dumps(self.wire.whole(self.ask, self.answer)).encode()
            await self.reply.send(content if after is None else content[: len(content) // 2])

    async def json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        await self.reply.whole(status, _JSON | (headers or {}) | self.headers, content)

    async def error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        await self.json(status, self.wire.error(status, code, message), headers)

    def event(self, chunk: Any) -> bytes:
        return self.wire.event(chunk)


async def strike(spec: Spec, scene: Scene) -> None:
    """Answer `scene` with the fault of `spec`."""
    if spec.name in _REFUSALS:
        await scene.error(*_REFUSALS[spec.name])
    else:
        await _FAULTS[spec.name](spec, scene)


#: name -> (status, code, message)
_REFUSALS = {
    "400": (400, "invalid_request_error", "temperature must be a number"),
    "401": (401, "invalid_api_key", "API key not valid. Please pass a valid API key."),
    "402": (402, "payment_required", "Insufficient credits"),
    "403": (403, "permission_denied", "this key may not use this model"),
    "404": (404, "model_not_found", "The model does not exist or you do not have access to it"),
    "408": (408, "timeout", "Request timed out"),
    "429-bare": (429, "rate_limit_exceeded", "Rate limit reached"),
    "498": (498, "capacity_exceeded", "Flex tier capacity exceeded"),
    "500": (500, "internal_server_error", "Internal error"),
    "502": (502, "provider_unavailable", "Bad gateway"),
    "503": (503, "service_unavailable", "Service unavailable"),
    "504": (504, "timeout", "Gateway timeout"),
    "529": (529, "overloaded_error", "Overloaded"),
    "context-length": (
        400,
        "context_length_exceeded",
        "This model's maximum context length is 131072 tokens. Please reduce the length of the messages.",
    ),
    "loading": (503, "unavailable_error", "Loading model"),
    "tool-use-failed": (400, "tool_use_failed", "Failed to call a function."),
}

Fault = Callable[[Spec, Scene], Awaitable[None]]
_FAULTS: dict[str, Fault] = {}


def _fault(name: str) -> Callable[[Fault], Fault]:
    def register(fault: Fault) -> Fault:
        _FAULTS[name] = fault
        return fault

    return register


@_fault("429")
async def _rate_limit(spec: Spec, scene: Scene) -> None:
    seconds = f"{spec.wait:g}"
    if isinstance(scene.wire, GeminiWire):
        body = scene.wire.error(429, "", f"Quota exceeded. Please retry in {seconds}s.")
        body["error"]["details"] = [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
        ]
        await scene.json(429, body)
    else:
        await scene.error(429, "rate_limit_exceeded", "Rate limit reached", {"Retry-After": seconds})


@_fault("429-day")
async def _daily_limit(spec: Spec, scene: Scene) -> None:
    body = scene.wire.error(429, "rate_limit_exceeded", "Quota exceeded for the day, limit: 0")
    if isinstance(scene.wire, GeminiWire):
        quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        body["error"]["details"] = [{"violations": [quota]}, {"retryDelay": "3600s"}]
        await scene.json(429, body)
    else:
        await scene.json(429, body, {"Retry-After": "3600"})


@_fault("reset")
async def _reset(spec: Spec, scene: Scene) -> None:
    scene.reply.reset()


@_fault("close")
async def _close(spec: Spec, scene: Scene) -> None:
    scene.reply.close()


@_fault("silent")
async def _silent(spec: Spec, scene: Scene) -> None:
    await asyncio.Event().wait()


@_fault("not-http")
async def _not_http(spec: Spec, scene: Scene) -> None:
    await scene.reply.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    scene.reply.close()


@_fault("dribbled-headers")
async def _dribbled_headers(spec: Spec, scene: Scene) -> None:
    await scene.reply.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await scene.reply.raw(b"x")
        await asyncio.sleep(_TICK_SECONDS)


@_fault("slow-first-token")
async def _slow_first_token(spec: Spec, scene: Scene) -> None:
    if scene.ask.stream:
        await scene.reply.start(200, _SSE)
    await asyncio.sleep(spec.wait)
    if scene.ask.stream:
        for chunk in scene.wire.chunks(scene.ask, scene.answer):
            await scene.reply.send(scene.event(chunk))
        await scene.reply.send(scene.wire.done)
        await scene.reply.end()
    else:
        await scene.healthy()


@_fault("comments")
async def _comments(spec: Spec, scene: Scene) -> None:
    """Keep-alive comments for ever, and never a token."""
    await scene.reply.start(200, _SSE)
    await _for_ever(scene, b": PROCESSING\n\n")


@_fault("comments-mid-stream")
async def _comments_mid_stream(spec: Spec, scene: Scene) -> None:
    await scene.begin(spec.after)
    await _for_ever(scene, b": PROCESSING\n\n")


@_fault("empty-chunks")
async def _empty_chunks(spec: Spec, scene: Scene) -> None:
    await scene.reply.start(200, _SSE)
    await _for_ever(scene, scene.event({"choices": [{"index": 0, "delta": {}}], "candidates": [{}]}))


@_fault("dribbled-event")
async def _dribbled_event(spec: Spec, scene: Scene) -> None:
    """An event that grows by a byte at a time and never ends."""
    await scene.begin(spec.after)
    await scene.reply.send(b'data: {"pad": "')
    await _for_ever(scene, b"x")


async def _for_ever(scene: Scene, data: bytes) -> None:
    while True:
        await scene.reply.send(data)
        await asyncio.sleep(_TICK_SECONDS)


@_fault("cut")
async def _cut(spec: Spec, scene: Scene) -> None:
    """FIN without the end of the HTTP body."""
    await scene.begin(spec.after)
    scene.reply.close()


@_fault("cut-reset")
async def _cut_reset(spec: Spec, scene: Scene) -> None:
    await scene.begin(spec.after)
    await asyncio.sleep(_TICK_SECONDS)  # Let the tokens arrive before the reset overtakes them.
    scene.reply.reset()


@_fault("cut-clean")
async def _cut_clean(spec: Spec, scene: Scene) -> None:
    """A well-formed end of the body, in the middle of the answer."""
    await scene.begin(spec.after)
    await scene.reply.end()


@_fault("stall")
async def _stall(spec: Spec, scene: Scene) -> None:
    """Cut without FIN: nothing more comes, and the connection stays open."""
    await scene.begin(spec.after)
    await asyncio.Event().wait()


@_fault("malformed")
async def _malformed(spec: Spec, scene: Scene) -> None:
    await scene.begin(spec.after)
    await scene.reply.send(b'data: {"choices": [{"delta": {"content": "cut of\n\n')
    await scene.reply.end()


@_fault("malformed-chunking")
async def _malformed_chunking(spec: Spec, scene: Scene) -> None:
    await scene.begin(spec.after)
    await scene.reply.raw(b"-7\r\nnonsense\r\n")
    await asyncio.Event().wait()


@_fault("no-done")
async def _no_done(spec: Spec, scene: Scene) -> None:
    await scene.begin(None)
    await scene.reply.end()


@_fault("no-finish")
async def _no_finish(spec: Spec, scene: Scene) -> None:
    """All of the text, [DONE], and no word on how it finished."""
    await scene.begin(len(scene.answer.tokens))
    await scene.reply.send(scene.wire.done)
    await scene.reply.end()


@_fault("open-end")
async def _open_end(spec: Spec, scene: Scene) -> None:
    """A whole answer whose body never ends."""
    await scene.begin(None)
    await scene.reply.send(scene.wire.done)
    await asyncio.Event().wait()


@_fault("error-200")
async def _error_200(spec: Spec, scene: Scene) -> None:
    await scene.json(200, scene.wire.error(503, "service_unavailable", "The model is overloaded"))


@_fault("error-event")
async def _error_event(spec: Spec, scene: Scene) -> None:
    """What Groq sends in the middle of a stream; then EOF without [DONE]."""
    await scene.begin(spec.after)
    error = scene.wire.error(503, "service_unavailable", "The model crashed")
    name = b"" if isinstance(scene.wire, GeminiWire) else b"event: error\n"
    await scene.reply.send(name + scene.event(error))
    await scene.reply.end()


@_fault("error-chunk")
async def _error_chunk(spec: Spec, scene: Scene) -> None:
    """What OpenRouter sends in the middle of a stream: an error beside choices, then [DONE]."""
    await scene.begin(spec.after)
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
    error = scene.wire.error(502, "provider_unavailable", "Upstream disconnected")
    await scene.reply.send(scene.event({"choices": [choice]} | error))
    await scene.reply.send(scene.wire.done)
    await scene.reply.end()


@_fault("content-filter")
async def _content_filter(spec: Spec, scene: Scene) -> None:
    text = "".join(scene.answer.tokens[: spec.after])
    await replace(scene, answer=replace(scene.answer, text=text, finish="content_filter")).healthy()


@_fault("prompt-blocked")
async def _prompt_blocked(spec: Spec, scene: Scene) -> None:
    """The question itself is refused: Gemini says so with 200, the others with 400."""
    if not isinstance(scene.wire, GeminiWire):
        await scene.error(400, "content_policy_violation", "The prompt was flagged")
        return
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    if scene.ask.stream:
        await scene.reply.start(200, _SSE)
        await scene.reply.send(scene.event(body))
        await scene.reply.end()
    else:
        await scene.json(200, body)


@_fault("prefix-rejected")
async def _prefix_rejected(spec: Spec, scene: Scene) -> None:
    """Refuses to continue an assistant's text; answers anything else."""
    if scene.ask.prefix:
        await scene.error(400, "invalid_request_error", "the last message must have role user")
    else:
        await scene.healthy()


@_fault("html")
async def _html(spec: Spec, scene: Scene) -> None:
    page = b"<!DOCTYPE html><html><body>Under maintenance</body></html>"
    await scene.reply.whole(200, {"Content-Type": "text/html"}, page)


@_fault("502-html")
async def _bad_gateway_page(spec: Spec, scene: Scene) -> None:
    await scene.reply.whole(502, {"Content-Type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>")


@_fault("empty")
async def _empty(spec: Spec, scene: Scene) -> None:
    await scene.reply.whole(200, _SSE if scene.ask.stream else _JSON, b"")


@_fault("empty-answer")
async def _empty_answer(spec: Spec, scene: Scene) -> None:
    await replace(scene, answer=replace(scene.answer, text="", tool_calls=())).healthy()


@_fault("wrong-encoding")
async def _wrong_encoding(spec: Spec, scene: Scene) -> None:
    """UTF-16 where UTF-8 was promised."""
    content = json.dumps(scene.wire.whole(scene.ask, scene.answer)).encode("utf-16")
    await scene.reply.whole(200, _JSON, content)


@_fault("gzip")
async def _gzip(spec: Spec, scene: Scene) -> None:
    """A whole, healthy answer, compressed although nobody asked."""
    if scene.ask.stream:
        events = [scene.event(chunk) for chunk in scene.wire.chunks(scene.ask, scene.answer)]
        content, kind = b"".join(events) + scene.wire.done, _SSE
    else:
        content, kind = json.dumps(scene.wire.whole(scene.ask, scene.answer)).encode(), _JSON
    await scene.reply.start(200, kind | {"Content-Encoding": "gzip"})
    compressed = gzip.compress(content)
    for start in range(0, len(compressed), 7):
        await scene.reply.send(compressed[start : start + 7])
    await scene.reply.end()


@_fault("huge-token")
async def _huge_token(spec: Spec, scene: Scene) -> None:
    """A whole, healthy answer of one token of 1 MB."""
    await replace(scene, answer=replace(scene.answer, text="x" * 1_000_000)).healthy()


@_fault("endless")
async def _endless(spec: Spec, scene: Scene) -> None:
    """Tokens as fast as they go, for ever."""
    many = replace(scene.answer, text=" ".join(["word"] * 500))
    events = b"".join(
        scene.event(chunk) for chunk in itertools.islice(scene.wire.chunks(scene.ask, many), 500)
    )
    await scene.reply.start(200, _SSE)
    while True:
        await scene.reply.send(events)


@_fault("endless-line")
async def _endless_line(spec: Spec, scene: Scene) -> None:
    await scene.reply.start(200, _SSE if scene.ask.stream else _JSON)
    await scene.reply.send(b'data: {"text": "' if scene.ask.stream else b'{"text": "')
    while True:
        await scene.reply.send(b"x" * 65536)


@_fault("redirect")
async def _redirect(spec: Spec, scene: Scene) -> None:
    location = scene.headers.get("Location", "http://127.0.0.1:9/stolen")
    await scene.reply.whole(307, {"Location": location}, b"")


@_fault("json-for-stream")
async def _json_for_stream(spec: Spec, scene: Scene) -> None:
    await scene.json(200, scene.wire.whole(scene.ask, scene.answer))


@_fault("sse-for-json")
async def _sse_for_json(spec: Spec, scene: Scene) -> None:
    await replace(scene, ask=replace(scene.ask, stream=True)).healthy()


@_fault("bytewise")
async def _bytewise(spec: Spec, scene: Scene) -> None:
    """A whole, healthy answer, one byte a write and a chunk."""
    events = [scene.event(chunk) for chunk in scene.wire.chunks(scene.ask, scene.answer)]
    await scene.reply.start(200, _SSE)
    for byte in b"".join(events) + scene.wire.done:
        await scene.reply.send(bytes([byte]))
    await scene.reply.end()


@_fault("unknown-tool")
async def _unknown_tool(spec: Spec, scene: Scene) -> None:
    calls = (("format_disk", {"now": True}),)
    await replace(scene, answer=replace(scene.answer, text="", tool_calls=calls)).healthy()


#: Every name a spec may have.
NAMES = tuple(sorted([*_REFUSALS, *_FAULTS]))
