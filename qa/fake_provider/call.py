"""One call of the fake provider, and its healthy answer, whole or in part."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from qa.fake_provider.answers import Answer, ChatRequest
from qa.fake_provider.http_connection import ResponseWriter
from qa.fake_provider.wire_formats import GeminiFormat, WireFormat

SSE = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is being answered. `headers` are set by a control script."""

    response: ResponseWriter
    wire: WireFormat
    request: ChatRequest
    answer: Answer
    headers: dict[str, str] = field(default_factory=dict)

    async def send_answer(self) -> None:
        if self.request.stream:
            await self.send_partial_answer(None)
            await self.response.send(self.wire.done)
            await self.response.end()
        else:
            await asyncio.sleep(self.answer.seconds_first)
            await self.send_json(200, self.completion())

    async def send_partial_answer(self, tokens: int | None) -> None:
        """Send the head, and `tokens` of a stream (None for all), or half of a completion."""
        if self.request.stream:
            await self.response.start(200, SSE | self.headers)
            if tokens is not None and not isinstance(self.wire, GeminiFormat):
                tokens += 1  # The first chunk names the role and has no token.
            chunks = self.wire.chunks(self.request, self.answer)
            for number, chunk in enumerate(itertools.islice(chunks, tokens)):
                await asyncio.sleep(self.answer.seconds_between if number else self.answer.seconds_first)
                await self.response.send(self.event(chunk))
        else:
            await self.response.start(200, JSON | self.headers)
            content = json.dumps(self.completion()).encode()
            await self.response.send(content if tokens is None else content[: len(content) // 2])

    async def send_json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        await self.response.send_all(status, JSON | (headers or {}) | self.headers, content)

    async def send_error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        await self.send_json(status, self.wire.error(status, code, message), headers)

    def completion(self) -> dict[str, Any]:
        return self.wire.completion(self.request, self.answer)

    def event(self, chunk: Any) -> bytes:
        return self.wire.event(chunk)

    def events(self) -> bytes:
        """Return the complete stream."""
        chunks = self.wire.chunks(self.request, self.answer)
        return b"".join(self.event(chunk) for chunk in chunks) + self.wire.done
