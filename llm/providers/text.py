"""Text as models write it, made safe to store and to show."""

from __future__ import annotations

from typing import Any

_OPEN, _CLOSE = "<think>", "</think>"


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
    """Separates `<think>…</think>` at the beginning of an answer from the answer itself.

    Groq sends reasoning like this with `reasoning_format: raw`, and so do local servers without
    a reasoning parser (observed 2026-11):
    https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_groq/test_groq_model_thinking_part_raw_format.yaml
    The pieces may be cut anywhere. Later occurrences are text: an answer may discuss the tag.
    """

    def __init__(self) -> None:
        #: Whitespace at the start, apart from what is held: each piece is searched once.
        self._blank: list[str] = []
        self._held = ""
        self._state = "start"  # then "thinking", "after" (whitespace to drop), "answer"

    @property
    def is_done(self) -> bool:
        """The answer itself has begun: everything that follows is part of it."""
        return self._state == "answer"

    def feed(self, piece: str) -> tuple[str, str]:
        """Return (reasoning, answer) of what is certain so far."""
        if self.is_done:
            return "", piece
        self._held += piece
        reasoning = ""
        while True:
            if self._state == "start":
                begun = self._held.lstrip()
                self._blank.append(self._held[: len(self._held) - len(begun)])
                self._held = begun
                if begun.startswith(_OPEN):
                    self._blank.clear()
                    self._held = begun[len(_OPEN) :]
                    self._state = "thinking"
                elif _OPEN.startswith(begun):
                    return reasoning, ""
                else:
                    return reasoning, self._release()
            elif self._state == "thinking":
                inside, closed, after = self._held.partition(_CLOSE)
                if not closed:
                    keep = _length_of_partial_tag(inside, _CLOSE)
                    self._held = inside[len(inside) - keep :]
                    return reasoning + inside[: len(inside) - keep], ""
                reasoning += inside
                self._held, self._state = after, "after"
            else:
                self._held = self._held.lstrip()
                self._state = "start"
                if not self._held:
                    self._state = "after"
                    return reasoning, ""

    def close(self) -> tuple[str, str]:
        """Return (reasoning, answer) of what was held back."""
        if self._state == "thinking":
            held, self._held = self._held, ""
            return held, ""
        return "", self._release()

    def _release(self) -> str:
        held = "".join(self._blank) + self._held
        self._blank, self._held, self._state = [], "", "answer"
        return held


def _length_of_partial_tag(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
