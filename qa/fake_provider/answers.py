"""The fake provider's answers, independent of the wire format: always the same for the same request."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

#: The end of every answer of default length.
WORDS = "and here are some calm words that any test can count on being the same each time"

_SIZE = re.compile(r"tokens-(\d+)(?:-every-(\d+)ms)?")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request in any wire format. `tools` maps names to JSON Schemas."""

    provider: str
    model: str
    stream: bool
    prompt: str = ""
    last_role: str = "user"
    prefix: str = ""
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    tool_choice: str = "auto"
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    json_mode: bool = False
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in any wire format. A stream has a word of `text` a chunk, `seconds_between` apart.

    `tool_calls` are (name, arguments as a dict). `usage` is (input, output, cached, reasoning).
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    finish: str = "stop"
    seconds_first: float = 0.0
    seconds_between: float = 0.0
    usage: tuple[int, int, int, int] | None = (12, 34, 5, 6)

    @property
    def tokens(self) -> list[str]:
        return tokens(self.text)


def tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+\s?", text) if text.strip() else [text] if text else []


def answer_to(request: ChatRequest, fixed: dict[str, Any] | None = None) -> Answer:
    """Return the answer to `request`, which does not depend on the provider.

    `fixed` are fields of an `Answer` that a control script sets. A model named
    `tokens-200-every-20ms` answers 200 tokens, one every 20 ms. Tools whose names
    the prompt contains are called. An assistant prefix is continued.
    """
    answer = _default_answer(request)
    if fixed:
        fixed = dict(fixed)
        fixed["tool_calls"] = tuple((name, args) for name, args in fixed.get("tool_calls", ()))
        fixed["usage"] = tuple(fixed["usage"]) if fixed.get("usage") else fixed.get("usage", answer.usage)
        answer = replace(answer, **fixed)
        if answer.tool_calls and "text" not in fixed:
            answer = replace(answer, text="")
    return _within_limits(request, answer)


def example(schema: dict[str, Any]) -> Any:
    """Return a value that is valid under a simple JSON Schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: example(part) for name, part in schema.get("properties", {}).items()}
    examples: dict[Any, Any] = {"array": [], "integer": 1, "number": 1.5, "boolean": True, "null": None}
    return examples.get(kind, "Paris")


def _default_answer(request: ChatRequest) -> Answer:
    called = tuple(
        (name, example({"type": "object"} | schema))
        for name, schema in request.tools.items()
        if request.last_role == "user"
        and request.tool_choice != "none"
        and (name in request.prompt or request.tool_choice in {"required", name})
    )
    if called:
        return Answer(tool_calls=called)
    size = _SIZE.search(request.model)
    if size:
        text = " ".join(f"word{number}" for number in range(1, int(size[1]) + 1))
        return Answer(text, seconds_between=int(size[2] or 0) / 1000)
    if request.json_schema is not None:
        return Answer(json.dumps(example(request.json_schema)))
    if request.json_mode:
        return Answer(json.dumps({"answer": request.prompt[:200]}))
    return Answer(f"You said: {request.prompt[:200]} " + WORDS)


def _within_limits(request: ChatRequest, answer: Answer) -> Answer:
    text, finish = answer.text, answer.finish
    if request.prefix and text.startswith(request.prefix):
        text = text[len(request.prefix) :]
    for stop in request.stop:
        text = text.split(stop, 1)[0]
    if request.max_tokens is not None and len(tokens(text)) > request.max_tokens:
        text, finish = "".join(tokens(text)[: request.max_tokens]), "length"
    return replace(answer, text=text, finish=finish)
