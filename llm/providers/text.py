"""Text as models write it, made safe to store and to show."""

from __future__ import annotations

import re
from typing import Any

_OPEN, _CLOSE = "<think>", "</think>"

#: A tag, or the beginning of one at the end.
_TAG = re.compile(r"</?think>|</?(?:t(?:h(?:i(?:n(?:k)?)?)?)?)?\Z")
_QUOTES = {'"', "'", "\u201c", "\u2018", "\u00ab"}


def sanitized(text: str) -> str:
    """Return `text` with lone surrogates and NUL replaced: neither UTF-8 nor a database accepts them."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # A round trip through UTF-16 joins the halves of a pair and replaces a lone half.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def sanitized_json(value: Any) -> Any:
    """Return the JSON `value` with all its texts sanitized, otherwise unchanged."""
    if isinstance(value, str):
        return sanitized(value)
    if isinstance(value, list):
        return [sanitized_json(item) for item in value]
    if isinstance(value, dict):
        return {sanitized(str(key)): sanitized_json(item) for key, item in value.items()}
    return value


class IncrementalSanitizer:
    """Sanitizes a text that comes in pieces, of which two may share one surrogate pair."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        if self._held:
            piece, self._held = self._held + piece, ""
        elif piece.isascii():
            return piece.replace("\0", "\ufffd")
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return sanitized(piece)

    def close(self) -> str:
        held, self._held = self._held, ""
        return sanitized(held)


class ThinkFilter:
    """Separates thoughts in tags at the beginning of an answer, `<think>…</think>`, from the answer itself.

    Groq sends reasoning like this with `reasoning_format: raw`, and so do local servers without
    a reasoning parser (observed 2026-11):
    https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_groq/test_groq_model_thinking_part_raw_format.yaml
    Where the prompt has opened the thoughts, only the closing tag comes, as DeepSeek-R1 and QwQ do:
    everything before it was thoughts (`retracts`). The pieces may be cut anywhere. Later tags are text,
    and so are those in code and quotes: an answer may discuss them.

    `opened`: hold everything back until that closing tag, or the end.
    """

    def __init__(self, *, opened: bool = False) -> None:
        #: Text that is held, apart from its last piece: each piece is searched once.
        self._parts: list[str] = []
        self._held = ""
        #: opened, or start; then thinking, between (whitespace to drop); at last answer (in which a tag may
        #: still close the thoughts), or done.
        self._state = "opened" if opened else "start"
        #: What was returned as the answer so far was thoughts, too.
        self.retracts = False
        self._backticks = 0
        self._last = ""

    @property
    def is_done(self) -> bool:
        """No tag matters any more: everything that follows is part of the answer."""
        return self._state == "done"

    @property
    def held_length(self) -> int:
        """Characters that are held back, and are text if no tag follows."""
        return len(self._held) + sum(map(len, self._parts))

    def feed(self, piece: str) -> tuple[str, str]:
        """Return (reasoning, answer) of what is certain so far."""
        reasoning = ""
        self._held += piece
        while True:
            match self._state:
                case "opened":
                    before, closed, after = self._held.partition(_CLOSE)
                    if closed:
                        reasoning = _without_opening_tag("".join(self._parts) + before)
                        self._parts, self._held, self._state = [], after, "between"
                        continue
                    keep = _length_of_partial_tag(before, _CLOSE)
                    self._parts.append(before[: len(before) - keep])
                    self._held = before[len(before) - keep :]
                    return "", ""
                case "start":
                    begun = self._held.lstrip()
                    self._parts.append(self._held[: len(self._held) - len(begun)])
                    self._held = begun
                    if begun.startswith(_OPEN):
                        self._parts.clear()
                        self._held, self._state = begun[len(_OPEN) :], "thinking"
                    elif _OPEN.startswith(begun):
                        return reasoning, ""
                    else:
                        self._held = "".join(self._parts) + begun
                        self._parts, self._state = [], "answer"
                case "thinking":
                    inside, closed, after = self._held.partition(_CLOSE)
                    if not closed:
                        keep = _length_of_partial_tag(inside, _CLOSE)
                        self._held = inside[len(inside) - keep :]
                        return reasoning + inside[: len(inside) - keep], ""
                    reasoning += inside
                    self._held, self._state = after, "between"
                case "between":
                    self._held = self._held.lstrip()
                    if self._held.startswith(_OPEN):
                        self._held, self._state = self._held[len(_OPEN) :], "thinking"
                    elif _OPEN.startswith(self._held):
                        return reasoning, ""
                    else:
                        self._state = "done"
                case "answer":
                    text, self._held = self._held, ""
                    if "<" not in text:
                        return reasoning, self._passed_on(text)
                    tag = self._next_tag(text)
                    if tag is None:
                        return reasoning, self._passed_on(text)
                    if tag[0] == _CLOSE:
                        self.retracts = True
                        reasoning += text[: tag.start()]
                        self._held, self._state = text[tag.end() :], "between"
                    elif tag[0] == _OPEN:
                        self._held, self._state = text, "done"
                    else:  # the beginning of one
                        self._held = text[tag.start() :]
                        return reasoning, self._passed_on(text[: tag.start()])
                case _:
                    text, self._held = self._held, ""
                    return reasoning, text

    def close(self) -> tuple[str, str]:
        """Return (reasoning, answer) of what was held back."""
        held = "".join(self._parts) + self._held
        thinking, self._parts, self._held = self._state == "thinking", [], ""
        if self._state == "opened" and _without_opening_tag(held) != held:
            held, thinking = _without_opening_tag(held), True
        self._state = "done"
        return (held, "") if thinking else ("", held)

    def release(self) -> str:
        """Return the text that an `opened` one holds: thoughts come otherwise, so it is the answer."""
        if self._state != "opened":
            return ""
        self._state = "start"
        held, self._parts, self._held = "".join(self._parts) + self._held, [], ""
        return held

    def _passed_on(self, text: str) -> str:
        self._backticks += text.count("`")
        self._last = text[-1:] or self._last
        return text

    def _next_tag(self, text: str) -> re.Match[str] | None:
        """Return the first tag, or the beginning of one at the end, that is neither code nor quoted."""
        backticks, counted_to = self._backticks, 0
        for tag in _TAG.finditer(text):
            backticks += text.count("`", counted_to, tag.start())
            counted_to = tag.start()
            before = text[counted_to - 1] if counted_to else self._last
            if backticks % 2 == 0 and before not in _QUOTES:
                return tag
        return None


def _without_opening_tag(thoughts: str) -> str:
    begun = thoughts.lstrip()
    return begun[len(_OPEN) :] if begun.startswith(_OPEN) else thoughts


def _length_of_partial_tag(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
