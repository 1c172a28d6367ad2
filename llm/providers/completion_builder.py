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
from llm.reasoning_models import opens_thoughts_in_prompt

#: A URL that is safe within Markdown's parentheses.
_IMAGE_URL = re.compile(r"(?:https://|data:image/)[!#-'*-;=?-\[\]_a-z~]+")


_Words = type[canonical.Text] | type[canonical.Refusal] | type[canonical.Reasoning]


class CompletionBuilder:
    """Collects text, reasoning, tool calls and usage; provides what is new as events.

    Everything in the completion has been an event or is one in `events`, those not taken yet.
    A call of a tool that was not offered, or whose arguments are not a JSON object, raises
    BadReply: another attempt may give a usable one. It is passed on as it is where `checks_tools` is False,
    or where its reader has got a part of the answer that cannot be taken back (`can_restart`).
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
        self.checks_tools = self.can_restart = True
        #: Characters received, held back or not.
        self.received = 0
        self.text_length = 0
        self._offered = {tool.name for tool in request.tools}
        self._texts: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._text_sanitizer, self._reasoning_sanitizer = IncrementalSanitizer(), IncrementalSanitizer()
        self._think_filter = ThinkFilter(opened=opens_thoughts_in_prompt(target))
        self._has_sent_text = False

    @property
    def is_empty(self) -> bool:
        return not self.calls and not self._refusal and not any(text.strip() for text in self._texts)

    @property
    def has_reasoning(self) -> bool:
        return bool(self._reasoning)

    @property
    def refusal(self) -> str:
        return "".join(self._refusal)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def text_position(self) -> int:
        """Where in the text the next piece begins."""
        return self.text_length + self._think_filter.held_length

    def take_events(self) -> list[canonical.Delta]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        if events and not self._has_sent_text:
            self._has_sent_text = any(isinstance(event, canonical.Text) for event in events)
        return events

    def add_text(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            self.received += len(piece)
            text = self._text_sanitizer.feed(piece)
            if not self._think_filter.is_done:
                text = self._without_thoughts(text)
            self._emit_text(text)

    def add_refusal(self, piece: Any) -> None:
        """Add words with which the model declines to answer."""
        if piece and isinstance(piece, str):
            self.received += len(piece)
            self._emit(self._refusal, canonical.Refusal, sanitized(piece))

    def add_image(self, url: Any) -> None:
        """Add an image to the text as Markdown, `![image](url)`; what is no URL adds nothing."""
        if isinstance(url, str) and _IMAGE_URL.fullmatch(url):
            gap = "" if self.is_empty else "\n\n"
            self.add_text(f"{gap}![image]({url})")

    def add_reasoning(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            self.received += len(piece)
            self._emit_text(self._think_filter.release())
            self._emit_reasoning(self._reasoning_sanitizer.feed(piece))

    def add_tool_call(self, index: int | None, call_id: Any, name: Any, arguments: Any) -> str:
        """Add a fragment of a tool call, or a whole one, and return our id of the call.

        `index` and `call_id` may be missing or repeated: a fragment with a new id begins a
        new call, one with neither belongs to the last.
        """
        call_id = sanitized(call_id) if isinstance(call_id, str) else ""
        name = sanitized(name) if isinstance(name, str) else ""
        if not call_id and not name and not arguments:
            return ""
        self.received += 1
        call = self._call_of(index, call_id, name)
        if name and not call.name:
            if name not in self._offered and self._may_refuse_tools:
                raise BadReply(
                    f"{self.target} called a tool that was not offered.",
                    detail=f"tool {name[:100]!r}",
                    by_model=True,
                )
            call.name = name
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

    def close(self, *, is_cut: bool = False) -> None:
        """Emit what was held back. Raises BadReply for unusable tool calls.

        `is_cut`: no word of ending came, so that broken arguments are a cut and not what the model wrote.
        """
        self._emit_text(self._without_thoughts(self._text_sanitizer.close()))
        reasoning, text = self._think_filter.close()
        self._emit_reasoning(reasoning + self._reasoning_sanitizer.close())
        self._emit_text(text)
        for call in self.calls:
            self._emit_arguments(call, call.close())
        # Some servers announce calls that never come.
        self.calls = [call for call in self.calls if call.name or not call.is_blank]
        # An answer that ended at its token limit may end inside the arguments.
        if self.finish in ("stop", "tool_calls") and (is_cut or self._may_refuse_tools):
            for call in self.calls:
                if not (call.name and _is_json_object(call.text)):
                    name = call.name or "a tool"
                    raise BadReply(
                        f"{self.target} called {name} with arguments that are not a JSON object.",
                        detail=call.text[:500],
                        by_model=not is_cut,
                    )

    def completion(self) -> canonical.Completion:
        return canonical.Completion(
            text=self.text,
            finish=self.finish or "error",
            target=self.target,
            model_used=self.model_used or self.target.model,
            raw_finish=self.raw_finish,
            response_id=self.response_id,
            tool_calls=tuple(
                canonical.ToolCall(call.id, call.name, call.text) for call in self.calls if call.id
            ),
            reasoning="".join(self._reasoning),
            refusal=self.refusal,
            opaque={self.target.provider: sanitized_json(self.opaque)} if self.opaque else None,
            usage=self.usage,
        )

    @property
    def _may_refuse_tools(self) -> bool:
        """Whether another attempt may be asked for because of a call."""
        is_sent = self.text_length or self._refusal or any(call.id for call in self.calls)
        return self.checks_tools and (self.can_restart or not is_sent)

    def _without_thoughts(self, text: str) -> str:
        """Return what is text of the answer so far; the thoughts are emitted."""
        had_retracted = self._think_filter.retracts
        reasoning, text = self._think_filter.feed(text)
        if self._think_filter.retracts and not had_retracted:
            if self._has_sent_text and not self.can_restart:
                return f"{reasoning}</think>\n\n{text}"
            reasoning = self._retracted() + reasoning
        self._emit_reasoning(reasoning)
        return text

    def _retracted(self) -> str:
        """Take back the text so far, and return it."""
        text = self.text
        self._texts.clear()
        self.text_length = 0
        self.events = [event for event in self.events if not isinstance(event, canonical.Text)]
        if self._has_sent_text:
            self.events.append(canonical.Retracted())
            self._has_sent_text = False
        return text

    def _emit_text(self, text: str) -> None:
        self.text_length += len(text)
        self._emit(self._texts, canonical.Text, text)

    def _emit_reasoning(self, text: str) -> None:
        self._emit(self._reasoning, canonical.Reasoning, text)

    def _emit(self, parts: list[str], kind: _Words, text: str) -> None:
        if text:
            parts.append(text)
            last = self.events[-1] if self.events else None
            if type(last) is kind:
                self.events[-1] = kind(last.text + text)
            else:
                self.events.append(kind(text))

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

    @property
    def is_blank(self) -> bool:
        """Whether its arguments are what stands for none."""
        return self.text.strip() in ("", "{}")

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
