"""The wire formats of the fake provider: OpenAI's for Groq, OpenRouter and compatible servers, and Gemini's.

A wire format parses a request into a `ChatRequest`, and writes an `Answer` or an error as the real service
does. It is as strict as the service: a 400 there is a 400 here.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from qa.fake_provider.answers import Answer, ChatRequest

MODELS = ("fake-large", "fake-small")
_CONTEXT = 131_072


class InvalidRequest(Exception):
    """The service would refuse the request with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class WireFormat(ABC):
    """`provider` selects the deviations of that provider from the format."""

    done: bytes = b""
    line_end = b"\n"

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._ids = itertools.count(1)

    @abstractmethod
    def api_key(self, headers: Mapping[str, str]) -> str: ...

    @abstractmethod
    def parse(self, path: str, body: Mapping[str, Any]) -> ChatRequest: ...

    @abstractmethod
    def completion(self, request: ChatRequest, answer: Answer) -> dict[str, Any]: ...

    @abstractmethod
    def chunks(self, request: ChatRequest, answer: Answer) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a stream: one for each token, then those that end it."""

    @abstractmethod
    def error(self, status: int, code: str, message: str) -> dict[str, Any]: ...

    @abstractmethod
    def models(self) -> dict[str, Any]: ...

    def event(self, chunk: Any) -> bytes:
        end = self.line_end
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + end + end


class OpenAIFormat(WireFormat):
    done = b"data: [DONE]\n\n"

    def api_key(self, headers: Mapping[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def parse(self, path: str, body: Mapping[str, Any]) -> ChatRequest:
        messages = body.get("messages") or []
        if not messages:
            raise InvalidRequest(400, "invalid_request_error", "messages: at least one message is required")
        last = messages[-1]
        for message in messages:
            if self.provider == "groq" and "name" in message:
                raise InvalidRequest(400, "invalid_request_error", "property 'name' is unsupported")
        prompts = [message for message in messages if message["role"] != "assistant"]
        choice = body.get("tool_choice") or "auto"
        form = body.get("response_format") or {}
        functions = [tool["function"] for tool in body.get("tools") or ()]
        return ChatRequest(
            provider=self.provider,
            model=str(body.get("model")),
            stream=bool(body.get("stream")),
            prompt=_text(prompts[-1].get("content")) if prompts else "",
            last_role=last["role"],
            prefix=_text(last.get("content")) if last["role"] == "assistant" else "",
            tools={function["name"]: function.get("parameters") or {} for function in functions},
            tool_choice=choice if isinstance(choice, str) else choice["function"]["name"],
            stop=tuple([body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or ()),
            max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
            json_mode=bool(form),
            json_schema=(form.get("json_schema") or {}).get("schema"),
        )

    def completion(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.reasoning:
            message["reasoning"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [self._call(*call) for call in answer.tool_calls]
        choice = {"index": 0, "message": message, "finish_reason": self._finish(answer)}
        return self._head(request, "chat.completion") | {"choices": [choice]} | self._usage(answer)

    def chunks(self, request: ChatRequest, answer: Answer) -> Iterator[dict[str, Any]]:
        head = self._head(request, "chat.completion.chunk")

        def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

        yield chunk({"role": "assistant", "content": ""})
        for piece in answer.reasoning.split():
            yield chunk({"reasoning": piece + " "})
        for token in answer.tokens:
            yield chunk({"content": token})
        for index, (name, arguments) in enumerate(answer.tool_calls):
            call = self._call(name, arguments)
            encoded = call["function"]["arguments"]
            call["function"]["arguments"] = ""
            yield chunk({"tool_calls": [{"index": index} | call]})
            for start in range(0, len(encoded), 5):
                part = {"index": index, "function": {"arguments": encoded[start : start + 5]}}
                yield chunk({"tool_calls": [part]})
        yield chunk({}, self._finish(answer))
        if answer.usage is None:
            return
        if self.provider == "groq":
            yield head | {"choices": [], "x_groq": {"id": "req_fake"} | self._usage(answer)}
        elif self.provider == "openrouter":
            yield chunk({"role": "assistant", "content": ""}) | self._usage(answer)
        else:
            yield head | {"choices": []} | self._usage(answer)

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        if self.provider == "openrouter":
            return {"error": {"code": status, "message": message, "metadata": {"error_type": code}}}
        return {"error": {"message": message, "type": code, "code": code}}

    def models(self) -> dict[str, Any]:
        pricing = {"prompt": "0.0000001", "completion": "0.0000005"}
        by_provider: dict[str, dict[str, Any]] = {
            "groq": {"active": True, "context_window": _CONTEXT},
            "openrouter": {"context_length": _CONTEXT, "pricing": pricing},
        }
        details = by_provider.get(self.provider, {})
        return {"object": "list", "data": [{"id": model, "object": "model"} | details for model in MODELS]}

    def _head(self, request: ChatRequest, kind: str) -> dict[str, Any]:
        number = next(self._ids)
        return {"id": f"chatcmpl-{number}", "object": kind, "created": 1_700_000_000, "model": request.model}

    def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        function = {"name": name, "arguments": json.dumps(arguments)}
        return {"id": f"call_{next(self._ids)}", "type": "function", "function": function}

    def _finish(self, answer: Answer) -> str:
        return "tool_calls" if answer.tool_calls and answer.finish == "stop" else answer.finish

    def _usage(self, answer: Answer) -> dict[str, Any]:
        if answer.usage is None:
            return {}
        input_tokens, output_tokens, cached, reasoning = answer.usage
        cost = {"cost": 0.00042} if self.provider == "openrouter" else {}
        return {
            "usage": {
                "prompt_tokens": input_tokens,
                "completion_tokens": output_tokens,
                "total_tokens": input_tokens + output_tokens,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": reasoning},
                **cost,
            }
        }


class GeminiFormat(WireFormat):
    line_end = b"\r\n"

    def api_key(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "")

    def parse(self, path: str, body: Mapping[str, Any]) -> ChatRequest:
        model, _, method = path.rsplit("/", 1)[-1].partition(":")
        contents = body.get("contents") or []
        self._check(contents)
        parts = contents[-1]["parts"]
        config = body.get("generationConfig") or {}
        choice = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        modes = {"NONE": "none", "ANY": (choice.get("allowedFunctionNames") or ["required"])[0]}
        outputs = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        return ChatRequest(
            provider=self.provider,
            model=model,
            stream=method.startswith("stream"),
            prompt="".join(part.get("text", "") for part in parts) or "".join(str(o) for o in outputs),
            last_role="tool" if outputs else "user",
            tools={
                declaration["name"]: declaration.get("parametersJsonSchema") or {}
                for tool in body.get("tools", [])
                for declaration in tool["functionDeclarations"]
            },
            tool_choice=modes.get(choice.get("mode", ""), "auto"),
            stop=tuple(config.get("stopSequences") or ()),
            max_tokens=config.get("maxOutputTokens"),
            json_mode=config.get("responseMimeType") == "application/json",
            json_schema=config.get("responseJsonSchema"),
        )

    def completion(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        parts = [{"text": answer.reasoning, "thought": True}] if answer.reasoning else []
        parts += [{"text": answer.text}] if answer.text else []
        parts += self._calls(answer)
        candidate = self._candidate(parts, self._finish(answer))
        return {"candidates": [candidate]} | self._tail(request, answer)

    def chunks(self, request: ChatRequest, answer: Answer) -> Iterator[dict[str, Any]]:
        tail = self._tail(request, answer)
        early = dict(tail)
        if "usageMetadata" in early:
            early["usageMetadata"] = {"promptTokenCount": early["usageMetadata"]["promptTokenCount"]}
        for piece in answer.reasoning.split():
            yield {"candidates": [self._candidate([{"text": piece + " ", "thought": True}])]} | early
        for token in answer.tokens:
            yield {"candidates": [self._candidate([{"text": token}])]} | early
        for part in self._calls(answer):
            yield {"candidates": [self._candidate([part])]} | early
        yield {"candidates": [self._candidate([{"text": ""}], self._finish(answer))]} | tail

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        statuses = {
            400: "INVALID_ARGUMENT",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            429: "RESOURCE_EXHAUSTED",
            500: "INTERNAL",
            503: "UNAVAILABLE",
            504: "DEADLINE_EXCEEDED",
        }
        details: list[dict[str, Any]] = []
        if code == "invalid_api_key":
            status, details = 400, [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
        error = {"code": status, "message": message, "status": statuses.get(status, "UNKNOWN")}
        return {"error": error | ({"details": details} if details else {})}

    def models(self) -> dict[str, Any]:
        methods = ["generateContent", "countTokens"]
        return {
            "models": [
                {
                    "name": f"models/{model}",
                    "inputTokenLimit": _CONTEXT,
                    "supportedGenerationMethods": methods,
                }
                for model in MODELS
            ]
        }

    def _check(self, contents: list[dict[str, Any]]) -> None:
        if not contents or contents[0].get("role") != "user" or contents[-1].get("role") != "user":
            raise InvalidRequest(400, "invalid", "contents must begin and end with a user turn")
        for before, after in itertools.pairwise(contents):
            if before["role"] == after["role"]:
                raise InvalidRequest(400, "invalid", "consecutive turns must differ in role")
        for content in contents:
            calls = [part for part in content["parts"] if "functionCall" in part]
            if calls and "thoughtSignature" not in calls[0]:
                raise InvalidRequest(400, "invalid", "Function call is missing a thought_signature")
            if not content["parts"] or not all(self._has_data(part) for part in content["parts"]):
                raise InvalidRequest(400, "invalid", "a part must have data")

    def _has_data(self, part: Mapping[str, Any]) -> bool:
        return any(value not in ("", None) for value in part.values())

    def _calls(self, answer: Answer) -> list[dict[str, Any]]:
        """Return the parts of the calls. Gemini signs only the first of parallel calls."""
        parts: list[dict[str, Any]] = [
            {"functionCall": {"name": name, "args": arguments}} for name, arguments in answer.tool_calls
        ]
        if parts:
            digest = hashlib.sha256(json.dumps(answer.tool_calls).encode()).digest()
            parts[0]["thoughtSignature"] = base64.b64encode(digest).decode()
        return parts

    def _candidate(self, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        return candidate | ({"finishReason": finish} if finish else {})

    def _finish(self, answer: Answer) -> str:
        names = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
        return names.get(answer.finish, answer.finish)

    def _tail(self, request: ChatRequest, answer: Answer) -> dict[str, Any]:
        tail: dict[str, Any] = {"modelVersion": request.model, "responseId": f"resp-{next(self._ids)}"}
        if answer.usage is not None:
            input_tokens, output_tokens, cached, reasoning = answer.usage
            tail["usageMetadata"] = {
                "promptTokenCount": input_tokens,
                "candidatesTokenCount": output_tokens - reasoning,
                "thoughtsTokenCount": reasoning,
                "cachedContentTokenCount": cached,
                "totalTokenCount": input_tokens + output_tokens,
            }
        return tail


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
