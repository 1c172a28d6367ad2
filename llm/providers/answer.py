"""The answer as it grows: what every provider's reader writes into."""

from __future__ import annotations

import json
import math
import re
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from llm import canonical
from llm.errors import BadReply, Blocked
from llm.providers.documents import Document
from llm.providers.text import Pieces, ThinkFilter, harmless, harmless_json


class Refused(Exception):
    """The provider reports an error inside its answer; `body` is that error, decoded."""

    def __init__(self, body: Any) -> None:
        super().__init__("the provider reports an error")
        self.body = body


class Answer:
    """Collects text, thoughts, tool calls and usage, and says what is new as events.

    `events` holds what has not been handed out yet; whatever is in the completion
    has been or will be an event too. A call of a tool that was never offered, or
    whose arguments are no JSON object, raises BadReply: the answer cannot be used,
    another attempt may give one that can.
    """

    def __init__(self, request: canonical.Request, target: canonical.Target) -> None:
        self.target = target
        self.usage = canonical.Usage()
        self.response_id = ""
        self.model_used = ""
        self.finish: canonical.Finish | None = None
        self.raw_finish = ""
        self.opaque: Any = None
        self.events: list[canonical.Event] = []
        self.calls: list[_Call] = []
        self._offered = {tool.name for tool in request.tools}
        self.text_length = 0
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._text_pieces, self._thought_pieces = Pieces(), Pieces()
        self._think_filter = ThinkFilter()

    @property
    def is_empty(self) -> bool:
        return not self.calls and not any(text.strip() for text in self._texts)

    def add_text(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            text = self._text_pieces.feed(piece)
            if not self._think_filter.over:
                thought, text = self._think_filter.feed(text)
                self._add_thought(thought)
            self._add_text(text)

    def add_reasoning(self, piece: Any) -> None:
        if piece and isinstance(piece, str):
            self._add_thought(self._thought_pieces.feed(piece))

    def add_call(self, index: int | None, call_id: Any, name: Any, arguments: Any) -> _Call:
        """Add a fragment of a tool call, or a whole one, and return the call.

        `index` and `call_id` may be missing or repeated: a fragment with a new id
        begins a new call, one with neither belongs to the last.
        """
        call_id = harmless(call_id) if isinstance(call_id, str) else ""
        name = harmless(name) if isinstance(name, str) else ""
        call = self._call_of(index, call_id, name)
        if name and not call.name:
            call.name = name
            if name not in self._offered:
                raise BadReply(
                    f"{self.target} called a tool that was not offered.", detail=f"tool {name[:100]!r}"
                )
        if call.name and not call.id:
            call.id = call_id if call_id and not self._taken(call_id) else f"call_{uuid.uuid4().hex[:24]}"
            call.given_id = call_id
            self.events.append(canonical.ToolCallDelta(call.index, call.id, call.name))
        elif call_id and not call.given_id:
            call.given_id = call_id
        self._pass_on(call, call.add(arguments))
        return call

    def close(self) -> None:
        """Hand out what was held back. Raises BadReply for tool calls that cannot be used."""
        thought, text = self._think_filter.feed(self._text_pieces.close())
        self._add_thought(thought)
        self._add_text(text)
        thought, text = self._think_filter.close()
        self._add_thought(thought + self._thought_pieces.close())
        self._add_text(text)
        for call in self.calls:
            self._pass_on(call, call.close())
            # An answer that was cut short on purpose may end inside the arguments.
            if self.finish in ("stop", "tool_calls") and not (call.name and _is_object(call.text)):
                raise BadReply(
                    f"{self.target} called {call.name or 'a tool'} with arguments that are no JSON object.",
                    detail=call.text[:500],
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
            reasoning="".join(self._thoughts),
            opaque={self.target.provider: harmless_json(self.opaque)} if self.opaque else None,
            usage=self.usage,
        )

    def _add_text(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self.text_length += len(text)
            last = self.events[-1] if self.events else None
            if isinstance(last, canonical.Text):
                self.events[-1] = canonical.Text(last.text + text)
            else:
                self.events.append(canonical.Text(text))

    def _add_thought(self, text: str) -> None:
        if text:
            self._thoughts.append(text)
            last = self.events[-1] if self.events else None
            if isinstance(last, canonical.Reasoning):
                self.events[-1] = canonical.Reasoning(last.text + text)
            else:
                self.events.append(canonical.Reasoning(text))

    def _pass_on(self, call: _Call, arguments: str) -> None:
        if arguments and call.id:
            self.events.append(canonical.ToolCallDelta(call.index, arguments=arguments))

    def _taken(self, call_id: str) -> bool:
        return any(call.id == call_id for call in self.calls)

    def _call_of(self, index: int | None, call_id: str, name: str) -> _Call:
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
        call = _Call(index=len(self.calls), given_index=index, given_id=call_id)
        self.calls.append(call)
        return call


@dataclass(slots=True)
class _Call:
    """A tool call under way. `given_index` and `given_id` are the provider's, the others ours.

    Arguments that begin as an object are passed on as they come. Others (nothing,
    null, an object inside a string) wait for the end, where they become one.
    """

    index: int
    given_index: int | None
    given_id: str
    id: str = ""
    name: str = ""
    _parts: list[str] = field(default_factory=list)
    _held: str = ""
    _pieces: Pieces = field(default_factory=Pieces)

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, arguments: Any) -> str:
        """Return what can be passed on."""
        if isinstance(arguments, (dict, list)):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not arguments or not isinstance(arguments, str):
            return ""
        self._held += self._pieces.feed(arguments)
        if not self.id or not (self._parts or self._held.lstrip().startswith("{")):
            return ""
        passed_on, self._held = self._held, ""
        self._parts.append(passed_on)
        return passed_on

    def close(self) -> str:
        held, self._held = self._held + self._pieces.close(), ""
        if not self._parts:
            held = _unwrapped(held)
        self._parts.append(held)
        return held


def _unwrapped(arguments: str) -> str:
    """Return the object that `arguments` stand for: `{}` for nothing, the inner text of a JSON string."""
    if not arguments.strip():
        return "{}"
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    if value is None or value == "":
        return "{}"
    return value if isinstance(value, str) else arguments


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


class Reader(ABC):
    """Reads the decoded JSON of one answer, streamed or whole, into an `Answer`."""

    def __init__(self, request: canonical.Request, target: canonical.Target) -> None:
        self.answer = Answer(request, target)
        #: What the provider says about a blocked answer, for the logs.
        self.why = ""

    @abstractmethod
    def feed(self, document: Document) -> None:
        """Read one document. Raises Refused for an error, BadReply for what cannot be used."""

    def close(self) -> canonical.Completion:
        """Return the whole answer once nothing more comes. Raises BadReply if it is not whole."""
        answer = self.answer
        if answer.finish is None:
            raise BadReply(f"{answer.target} ended its answer without finishing it.")
        answer.close()
        if answer.finish == "blocked":
            raise Blocked(f"{answer.target} blocked its answer{reason(answer.raw_finish)}.", detail=self.why)
        if answer.finish == "error":
            raise BadReply(
                f"{answer.target} broke off its answer.", detail=f"finish reason {answer.raw_finish!r}"
            )
        if answer.calls and answer.finish == "stop":
            answer.finish = "tool_calls"
        elif answer.finish == "tool_calls" and not answer.calls:
            answer.finish = "stop"
        # Thinking spends the token limit too: nothing but thoughts within it is no fault of the answer.
        if answer.is_empty and answer.finish != "length":
            raise BadReply(f"{answer.target} gave an empty answer.", detail=f"finish {answer.raw_finish!r}")
        return answer.completion()


def reason(code: str) -> str:
    """Return ` (SAFETY)` for a code that is safe to show; nothing for anything longer than a code."""
    return f" ({code})" if re.fullmatch(r"[A-Za-z_]{1,40}", code) else ""


def count(value: Any) -> int | None:
    """Return the token count in a number or its text; None for anything else."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and number >= 0 else None


def money(value: Any) -> Decimal | None:
    """Return the amount in a number or its text; None for anything else, negative amounts included."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def updated(usage: canonical.Usage, **figures: Any) -> canonical.Usage:
    """Return `usage` with those of the `figures` that are there; usage may come twice, or in parts."""
    return replace(usage, **{name: figure for name, figure in figures.items() if figure is not None})
