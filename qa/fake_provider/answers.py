"""What the fake provider is asked, whatever the wire, and what it answers: the same words every time."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

#: Ends every answer of default length.
WORDS = "and here are some calm words that any test can count on being the same each time"

_SIZE = re.compile(r"tokens-(\d+)(?:-every-(\d+)ms)?")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as all wires mean it. `tools` maps names to JSON Schemas."""

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
    wants_json: bool = False
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. `text` goes out a word at a time, `seconds_between` apart.

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


def answer_to(ask: Ask, fixed: dict[str, Any] | None = None) -> Answer:
    """Return the answer to `ask`: the same for the same question, whoever is asked.

    `fixed` are fields of an `Answer` that a control script sets. A model named
    `tokens-200-every-20ms` answers 200 tokens, one every 20 ms. Tools whose names
    the question mentions are called. An assistant prefix is continued.
    """
    answer = _own_words(ask)
    if fixed:
        fixed = dict(fixed)
        fixed["tool_calls"] = tuple((name, args) for name, args in fixed.get("tool_calls", ()))
        fixed["usage"] = tuple(fixed["usage"]) if fixed.get("usage") else fixed.get("usage", answer.usage)
        answer = replace(answer, **fixed)
        if answer.tool_calls and "text" not in fixed:
            answer = replace(answer, text="")
    return _within_limits(ask, answer)


def example(schema: dict[str, Any]) -> Any:
    """Return a value that fits a simple JSON Schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: example(part) for name, part in schema.get("properties", {}).items()}
    examples: dict[Any, Any] = {"array": [], "integer": 1, "number": 1.5, "boolean": True, "null": None}
    return examples.get(kind, "Paris")


def _own_words(ask: Ask) -> Answer:
    called = tuple(
        (name, example({"type": "object"} | schema))
        for name, schema in ask.tools.items()
        if ask.last_role == "user"
        and ask.tool_choice != "none"
        and (name in ask.prompt or ask.tool_choice in {"required", name})
    )
    if called:
        return Answer(tool_calls=called)
    size = _SIZE.search(ask.model)
    if size:
        text = " ".join(f"word{number}" for number in range(1, int(size[1]) + 1))
        return Answer(text, seconds_between=int(size[2] or 0) / 1000)
    if ask.json_schema is not None:
        return Answer(json.dumps(example(ask.json_schema)))
    if ask.wants_json:
        return Answer(json.dumps({"answer": ask.prompt[:200]}))
    return Answer(f"You said: {ask.prompt[:200]} " + WORDS)


def _within_limits(ask: Ask, answer: Answer) -> Answer:
    text, finish = answer.text, answer.finish
    if ask.prefix and text.startswith(ask.prefix):
        text = text[len(ask.prefix) :]
    for stop in ask.stop:
        text = text.split(stop, 1)[0]
    if ask.max_tokens is not None and len(tokens(text)) > ask.max_tokens:
        text, finish = "".join(tokens(text)[: ask.max_tokens]), "length"
    return replace(answer, text=text, finish=finish)
