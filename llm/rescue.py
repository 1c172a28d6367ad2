"""Splicing a further attempt onto an answer of which the client already has the beginning."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm import estimate
from llm.canonical import Request

#: That many equal characters are a repetition, not a coincidence: a model that was to continue has
#: then started again. A shorter beginning is not worth continuing.
SIGNIFICANT_CHARACTERS = 32


def can_be_continued(request: Request, sent: str) -> bool:
    """Return whether a model could continue where `sent` ends.

    Not within JSON: a constrained answer always begins with a new document.
    """
    return len(sent) >= SIGNIFICANT_CHARACTERS and not request.json_mode and not request.json_schema


def continuation(request: Request, sent: str) -> Request:
    """Return the request for the rest of `sent`, within what is left of its token limit."""
    if request.max_tokens is not None:
        request = replace(request, max_tokens=max(1, request.max_tokens - estimate.tokens(sent)))
    return request.continuing(sent)


@dataclass(frozen=True, slots=True)
class Splice:
    """How a further attempt goes on: with `text`, after what was sent or (`restart`) instead of it."""

    text: str
    restart: bool


class StreamSplicer:
    """Holds back a further attempt's text until it is clear how to splice it onto what was sent.

    A text that begins with everything that was sent goes on after it; the client sees one
    answer. A text that differs replaces it, or, from a model that was asked to continue and
    did not start again, is the continuation. Never holds back more than was sent.
    `unspliceable`: what was sent can only be replaced.
    """

    def __init__(self, sent: str, *, continuing: bool, unspliceable: bool = False) -> None:
        self._sent = sent
        self.continuing = continuing
        self._unspliceable = unspliceable
        self._matched = 0

    def feed(self, text: str) -> Splice | None:
        """Add the attempt's next text; return the splice, or None while it is undecided."""
        if self._unspliceable:
            return Splice(text, restart=True)
        expected = self._sent[self._matched : self._matched + len(text)]
        if text.startswith(expected):
            self._matched += len(expected)
            if self._matched < len(self._sent):
                return None
            return Splice(text[len(expected) :], restart=False)
        held = self._sent[: self._matched] + text
        self._matched += _length_of_common_prefix(text, expected)
        return Splice(held, restart=self._is_restart)

    def end(self) -> Splice:
        """Return the splice of an attempt whose text ends while it is undecided."""
        return Splice(self._sent[: self._matched], restart=self._is_restart)

    @property
    def _is_restart(self) -> bool:
        return self._unspliceable or not self.continuing or self._matched >= SIGNIFICANT_CHARACTERS


def _length_of_common_prefix(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
