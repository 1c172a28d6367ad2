"""Joining a further attempt to an answer of which the client already has the beginning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm import estimate
from llm.canonical import Request

#: So many characters alike are a repetition, not chance: a model that was to continue
#: has then started again. A shorter beginning is not worth continuing.
TELLING_CHARACTERS = 32


def continuable(request: Request, sent: str) -> bool:
    """Return whether a model could go on where `sent` stops.

    Not within JSON: a constrained answer always begins with a new document.
    """
    return len(sent) >= TELLING_CHARACTERS and not request.json_mode and not request.json_schema


def continuation(request: Request, sent: str) -> Request:
    """Return the request that asks for the rest of `sent`, within what is left of its token limit."""
    if request.max_tokens is not None:
        request = replace(request, max_tokens=max(1, request.max_tokens - estimate.tokens(sent)))
    return request.continuing(sent)


@dataclass(frozen=True, slots=True)
class Join:
    """How a further attempt goes on: with `text`, after what was sent or (`restart`) instead of it."""

    text: str
    restart: bool


class Seam:
    """Holds back a further attempt's text until it is clear how it joins what was sent.

    A text that begins with all that was sent goes on behind it, without a seam.
    One that differs replaces it; or, from a model asked to continue that did not
    start again, is the continuation. Never holds back more than was sent.
    `void`: what was sent can only be replaced.
    """

    def __init__(self, sent: str, *, continuing: bool, void: bool = False) -> None:
        self._sent = sent
        self._continuing = continuing
        self._void = void
        self._alike = 0

    def feed(self, text: str) -> Join | None:
        """Take the attempt's next text; return the verdict, or None while there is none."""
        if self._void:
            return Join(text, restart=True)
        ahead = self._sent[self._alike : self._alike + len(text)]
        if text.startswith(ahead):
            self._alike += len(ahead)
            if self._alike < len(self._sent):
                return None
            return Join(text[len(ahead) :], restart=False)
        held = self._sent[: self._alike] + text
        self._alike += _characters_alike(text, ahead)
        return Join(held, restart=self._is_restart)

    def end(self) -> Join:
        """Return the verdict on an attempt whose text ends here, undecided so far."""
        return Join(self._sent[: self._alike], restart=self._is_restart)

    @property
    def _is_restart(self) -> bool:
        return self._void or not self._continuing or self._alike >= TELLING_CHARACTERS


def _characters_alike(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
