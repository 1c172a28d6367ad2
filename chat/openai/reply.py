"""From canonical completions and events to OpenAI's format.

https://platform.openai.com/docs/api-reference/chat/object
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from llm import canonical

_DONE = b"data: [DONE]\n\n"

#: Not line endings in an event stream, but the line readers of many clients split at them.
_LINE_ENDS = (("\x85", r"\u0085"), ("\u2028", r"\u2028"), ("\u2029", r"\u2029"))

_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "refusal": "stop",
    "blocked": "content_filter",
}


def completion_body(
    completion: canonical.Completion, reply_id: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a `chat.completion` object; `notes` are the receipt's."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": completion.text or (None if completion.tool_calls or completion.refusal else ""),
        "refusal": completion.refusal or None,
    }
    if completion.reasoning:
        message["reasoning"] = completion.reasoning
    if completion.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in completion.tool_calls
        ]
    if completion.opaque:
        message["provider_details"] = completion.opaque
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISH[completion.finish],
    }
    return {
        "id": f"chatcmpl-{reply_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _model_name(completion),
        "choices": [choice],
        "usage": _usage_body(completion.usage),
        **_notes_body(notes),
    }


def _notes_body(notes: Sequence[str]) -> dict[str, Any]:
    return {"notes": list(notes)} if notes else {}


class Chunks:
    """The `chat.completion.chunk` objects of one streamed answer, each as an encoded event.

    With `include_usage` the last one has the usage, and all others have `usage: null`.
    """

    def __init__(self, reply_id: str, target: canonical.Target, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{reply_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": str(target),
        }

    def role(self) -> bytes:
        return self._choice({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        return self._choice({"content": text})

    def refusal(self, text: str) -> bytes:
        return self._choice({"refusal": text})

    def reasoning(self, text: str) -> bytes:
        return self._choice({"reasoning": text})

    def tool_call(self, part: canonical.ToolCallDelta) -> bytes:
        call: dict[str, Any] = {"index": part.index, "function": {"arguments": part.arguments}}
        if part.id:
            call |= {"id": part.id, "type": "function"}
        if part.name:
            call["function"]["name"] = part.name
        return self._choice({"tool_calls": [call]})

    def end(self, completion: canonical.Completion, notes: Sequence[str] = ()) -> bytes:
        """Return the end of the stream: finish reason, usage if it is requested, and `[DONE]`."""
        self._head |= {"model": _model_name(completion), **_notes_body(notes)}
        delta = {"provider_details": completion.opaque} if completion.opaque else {}
        last = self._choice(delta, _FINISH[completion.finish])
        if self._include_usage:
            last += encode({**self._head, "choices": [], "usage": _usage_body(completion.usage)})
        return last + _DONE

    def _choice(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return encode({**self._head, "choices": [choice], **usage})


def encode(data: dict[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for line_end, escaped in _LINE_ENDS:
        text = text.replace(line_end, escaped)
    return b"data: " + text.encode() + b"\n\n"


def _usage_body(usage: canonical.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _model_name(completion: canonical.Completion) -> str:
    """Return `provider/model` of the model that answered."""
    return f"{completion.target.provider}/{completion.model_used or completion.target.model}"
