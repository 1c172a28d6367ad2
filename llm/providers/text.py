"""Text as models write it, made safe to store and to show."""

from __future__ import annotations

from typing import Any

_OPEN, _CLOSE = "<think>", "</think>"


def harmless(text: str) -> str:
    """Return `text` with lone surrogates and NUL replaced: neither UTF-8 nor a database takes them."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            # A round trip through UTF-16 joins the halves of a pair and replaces a half alone.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def harmless_json(value: Any) -> Any:
    """Return the JSON `value` with all its texts harmless, otherwise unchanged."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list):
        return [harmless_json(item) for item in value]
    if isinstance(value, dict):
        return {harmless(str(key)): harmless_json(item) for key, item in value.items()}
    return value


class Pieces:
    """Makes pieces of one text harmless, also a character whose two halves come in two pieces."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        if self._held:
            piece, self._held = self._held + piece, ""
        elif piece.isascii():
            return piece.replace("\0", "\ufffd")
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._held = piece[:-1], piece[-1]
        return harmless(piece)

    def close(self) -> str:
        held, self._held = self._held, ""
        return harmless(held)


class ThinkFilter:
    """Separates `<think>…</think>` at the beginning of an answer from the answer itself.

    Fed with pieces cut anywhere. Only the beginning is looked at: further on, the
    words are part of an answer that speaks of them.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"  # then "thinking", "after" (blank space to drop), "answer"

    @property
    def over(self) -> bool:
        """The answer itself has begun: all that follows is part of it."""
        return self._state == "answer"

    def feed(self, piece: str) -> tuple[str, str]:
        """Return (thought, answer) of what is certain so far."""
        if self.over:
            return "", piece
        self._held += piece
        thought = ""
        while True:
            if self._state == "start":
                begun = self._held.lstrip()
                if begun.startswith(_OPEN):
                    self._held = begun[len(_OPEN) :]
                    self._state = "thinking"
                elif _OPEN.startswith(begun):
                    return thought, ""
                else:
                    return thought, self._release()
            elif self._state == "thinking":
                inside, closed, after = self._held.partition(_CLOSE)
                if not closed:
                    keep = _possible_start(inside, _CLOSE)
                    self._held = inside[len(inside) - keep :]
                    return thought + inside[: len(inside) - keep], ""
                thought += inside
                self._held, self._state = after, "after"
            else:
                self._held = self._held.lstrip()
                self._state = "start"
                if not self._held:
                    self._state = "after"
                    return thought, ""

    def close(self) -> tuple[str, str]:
        """Return (thought, answer) of what was held back."""
        if self._state == "thinking":
            held, self._held = self._held, ""
            return held, ""
        return "", self._release()

    def _release(self) -> str:
        held, self._held, self._state = self._held, "", "answer"
        return held


def _possible_start(text: str, mark: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of `mark`."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-n:])), 0)
