"""Canonical completions and events -> what OpenAI clients expect."""

from __future__ import annotations

import json
import time
from typing import Any

from llm import canonical

DONE = b"data: [DONE]\n\n"

_FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "blocked": "content_filter"}

#: HTTP status -> the type that OpenAI's clients know.
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def error_body(problem: dict[str, Any]) -> dict[str, Any]:
    """Return `{"error": {"message", "type", "param", "code"}}` for a problem object."""
    at_fault = problem["errors"][0] if problem["errors"] else {"field": None, "code": problem["code"]}
    return {
        "error": {
            "message": problem["detail"],
            "type": _TYPES.get(problem["status"], "server_error"),
            "param": at_fault["field"],
            "code": at_fault["code"],
        }
    }


def completion_body(completion: canonical.Completion, reply_id: str) -> dict[str, Any]:
    """Return a whole `chat.completion`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": completion.text if completion.text or not completion.tool_calls else None,
        "refusal": None,
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
    return {
        "id": f"chatcmpl-{reply_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name(completion),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _FINISH.get(completion.finish, "stop"),
            }
        ],
        "usage": usage_body(completion.usage),
    }


class Chunks:
    """The chunks of one streamed answer, each as an encoded SSE event."""

    def __init__(self, reply_id: str, target: canonical.Target) -> None:
        self._head = {
            "id": f"chatcmpl-{reply_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": str(target),
        }

    def role(self) -> bytes:
        return self._choice({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        return self._choice({"content": text})

    def reasoning(self, text: str) -> bytes:
        return self._choice({"reasoning": text})

    def tool_call(self, part: canonical.ToolCallDelta) -> bytes:
        call: dict[str, Any] = {"index": part.index, "function": {"arguments": part.arguments}}
        if part.id:
            call |= {"id": part.id, "type": "function"}
        if part.name:
            call["function"]["name"] = part.name
        return self._choice({"tool_calls": [call]})

    def end(self, completion: canonical.Completion) -> bytes:
        self._head["model"] = model_name(completion)
        delta = {"provider_details": completion.opaque} if completion.opaque else {}
        return self._choice(delta, _FINISH.get(completion.finish, "stop"))

    def usage(self, usage: canonical.Usage) -> bytes:
        return event({**self._head, "choices": [], "usage": usage_body(usage)})

    def _choice(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def usage_body(usage: canonical.Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def model_name(completion: canonical.Completion) -> str:
    """Return `provider/model` of the model that really answered."""
    return f"{completion.target.provider}/{completion.model_used or completion.target.model}"
