"""Builds a completion from the pieces of a response, and the events that announce them."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from llm import canonical
from llm.errors import BadReply
from llm.providers.text import IncrementalSanitizer, ThinkFilter, sanitized, sanitized_json

#: A URL that is safe within Markdown's parentheses.
_IMAGE_URL = re.compile(r"(?:https://|data:image/)[!#-'*-;=?-\[\]_a-z~]+")


class CompletionBuilder:
    """Collects text, reasoning, tool calls and usage; provides what is new as events.

    Everything in the completion has been an event or is one in `events`, those not taken yet.
    A call of a tool that was not offered, or whose arguments are not a JSON object, raises
    BadReply: another attempt may give a usable one.
    """

    def __init__(self, request: canonical.Request, target: canonical.Target) -> None:
        self.target = target
        self.usage = canonical.Usage()
        self.response_id = ""
        self.model_used = ""
        self.finish: canonical.Finish | None = None
        self.raw_finish = ""
        self.opaque: Any = None
        self.events: list[canonical.Delta] = []
        self.calls: list[_ToolCallBuilder] = []
        self.text_length = 0
        self._offered = {tool.name for tool in request.tools}
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._text_sanitizer, self._reasoning_sanitizer = IncrementalSanitizer(), IncrementalSanitizer()
        self._think_filter = ThinkFilter()

    @property
    def is_empty(self) -> bool:
        return not self.calls and not any(text.strip() for text in self._texts)

    def take_events(self) -> list[canonical.Delta]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def add_text(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            text = self._text_sanitizer.feed(piece)
            if not self._think_filter.is_done:
                reasoning, text = self._think_filter.feed(text)
                self._emit_reasoning(reasoning)
            self._emit_text(text)

    def add_image(self, url: Any) -> None:
        """Add an image to the text as Markdown, `![image](url)`; what is no URL adds nothing."""
        if isinstance(url, str) and _IMAGE_URL.fullmatch(url):
            gap = "" if self.is_empty else "\n\n"
            self.add_text(f"{gap}![image]({url})")

    def add_reasoning(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            self._emit_reasoning(self._reasoning_sanitizer.feed(piece))

    def add_tool_call(self, index: int | None, call_id: Any, name: Any, arguments: Any) -> str:
        """Add a fragment of a tool call, or a whole one, and return our id of the call.

        `index` and `call_id` may be missing or repeated: a fragment with a new id begins a
        new call, one with neither belongs to the last.
        """
        call_id = sanitized(call_id) if isinstance(call_id, str) else ""
        name = sanitized(name) if isinstance(name, str) else ""
        call = self._call_of(index, call_id, name)
        if name and not call.name:
            call.name = name
            if name not in self._offered:
                raise BadReply(
                    f"{self.target} called a tool that was not offered.",
                    detail=f"tool {name[:100]!r}",
                    by_model=True,
                )
        if call.name and not call.id:
            call.id = call_id if call_id and not self._is_used(call_id) else f"call_{uuid.uuid4().hex[:24]}"
            call.given_id = call_id
            self.events.append(canonical.ToolCallDelta(call.index, call.id, call.name))
        elif call_id and not call.given_id:
            call.given_id = call_id
        self._emit_arguments(call, call.add(arguments))
        return call.id

    def update_usage(self, **values: Any) -> None:
        """Set those fields of the usage whose value is not None: it may come twice, or in parts."""
        known = {name: value for name, value in values.items() if value is not None}
        self.usage = replace(self.usage, **known)

    def close(self) -> None:
        """Emit what was held back. Raises BadReply for unusable tool calls."""
        reasoning, text = self._think_filter.feed(self._text_sanitizer.close())
        self._emit_reasoning(reasoning)
        self._emit_text(text)
        reasoning, text = self._think_filter.close()
        self._emit_reasoning(reasoning + self._reasoning_sanitizer.close())
        self._emit_text(text)
        for call in self.calls:
            self._emit_arguments(call, call.close())
            # An answer that ended at its token limit may end inside the arguments.
            if self.finish in ("stop", "tool_calls") and not (call.name and _is_json_object(call.text)):
                name = call.name or "a tool"
                raise BadReply(
                    f"{self.target} called {name} with arguments that are not a JSON object.",
                    detail=call.text[:500],
                    by_model=True,
                )

    def completion(self) -> canonical.Completion:
        return canonical.Completion(
            text="".join(self._texts),
            finish=self.finish or "error",
            target=self.target,
            model_used=self.model_used or self.target.model,
            raw_finish=self.raw_finish,
            response_id=self.response_id,
            tool_calls=tuple(
                canonical.ToolCall(call.id, call.name, call.text) for call in self.calls if call.id
            ),
            reasoning="".join(self._reasoning),
            opaque={self.target.provider: sanitized_json(self.opaque)} if self.opaque else None,
            usage=self.usage,
        )

    def _emit_text(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self.text_length += len(text)
            last = self.events[-1] if self.events else None
            if isinstance(last, canonical.Text):
                self.events[-1] = canonical.Text(last.text + text)
            else:
                self.events.append(canonical.Text(text))

    def _emit_reasoning(self, text: str) -> None:
        if text:
            self._reasoning.append(text)
            last = self.events[-1] if self.events else None
            if isinstance(last, canonical.Reasoning):
                self.events[-1] = canonical.Reasoning(last.text + text)
            else:
                self.events.append(canonical.Reasoning(text))

    def _emit_arguments(self, call: _ToolCallBuilder, arguments: str) -> None:
        if arguments and call.id:
            self.events.append(canonical.ToolCallDelta(call.index, arguments=arguments))

    def _is_used(self, call_id: str) -> bool:
        return any(call.id == call_id for call in self.calls)

    def _call_of(self, index: int | None, call_id: str, name: str) -> _ToolCallBuilder:
        if index is None:
            same = [call for call in self.calls if call_id and call.given_id == call_id]
            if not same and self.calls and not call_id and not name:
                same = self.calls
        else:
            same = [
                call
                for call in self.calls
                if call.given_index == index
                and (not call_id or call.given_id in ("", call_id))
                and (not name or call.name in ("", name))
            ]
        if same:
            return same[-1]
        call = _ToolCallBuilder(index=len(self.calls), given_index=index, given_id=call_id)
        self.calls.append(call)
        return call


@dataclass(slots=True)
class _ToolCallBuilder:
    """A tool call in progress. `given_index` and `given_id` are the provider's, the others ours.

    Arguments that begin as an object are emitted as they come. Others (nothing, null, an
    object inside a string) wait for the end, where they become one.
    """

    index: int
    given_index: int | None
    given_id: str
    id: str = ""
    name: str = ""
    _parts: list[str] = field(default_factory=list)
    _held: list[str] = field(default_factory=list)
    #: None until the first character that is no whitespace.
    _is_object: bool | None = None
    _sanitizer: IncrementalSanitizer = field(default_factory=IncrementalSanitizer)

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, arguments: Any) -> str:
        """Return what can be emitted."""
        if isinstance(arguments, (dict, list)):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not arguments or not isinstance(arguments, str):
            return ""
        piece = self._sanitizer.feed(arguments)
        self._held.append(piece)
        if self._is_object is None and (begun := piece.lstrip()):
            self._is_object = begun.startswith("{")
        if not self.id or not self._is_object:
            return ""
        emitted = "".join(self._held)
        self._held.clear()
        self._parts.append(emitted)
        return emitted

    def close(self) -> str:
        held = "".join(self._held) + self._sanitizer.close()
        self._held.clear()
        if not self._parts:
            held = _unwrapped(held)
        self._parts.append(held)
        return held


def _unwrapped(arguments: str) -> str:
    """Return the object that `arguments` mean: `{}` for nothing, the inner text of a JSON string."""
    if not arguments.strip():
        return "{}"
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    if value is None or value == "":
        return "{}"
    return value if isinstance(value, str) else arguments


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
