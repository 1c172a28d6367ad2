"""Words by which a message of a provider is recognised."""

from __future__ import annotations

import re

#: Of a longer message the beginning and the end are read: there stands the reason.
MAX_LENGTH = 1000


def shortened(message: str) -> str:
    """Return at most `MAX_LENGTH` characters of `message`, on one line."""
    if len(message) > MAX_LENGTH:
        message = message[: MAX_LENGTH * 3 // 4] + " … " + message[-MAX_LENGTH // 4 :]
    return " ".join(message.split())


class Wording:
    """Patterns, of which one has to be somewhere in a message, whatever its case.

    The message is read in its shortened form, so that no pattern takes long.
    """

    def __init__(self, *patterns: str) -> None:
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE)

    def found_in(self, message: str) -> re.Match[str] | None:
        return self._pattern.search(shortened(message))
