"""Canaries: texts and numbers that reveal whose documents went into an answer.

Every text that a tenant owns contains its canary, and Umbrella's numbers begin with the same digits.
"""

from __future__ import annotations

import re

#: Umbrella's tokens, messages and costs, and sums of few of them, begin with 777.
NUMBER = 77_700_000
#: The owner that `owners_in` returns for such a number.
NUMBERS = "umbrella.numbers"

_NUMBERS = re.compile(r"(?<![\w.-])777\d{5}(?![\w-])")
_CANARIES = re.compile(r"7f3a-([a-z.]+)-e9c5")


def canary(owner: str) -> str:
    return f"7f3a-{owner}-e9c5"


def owners_in(text: str) -> set[str]:
    """Return the owners of the canaries in a text."""
    return set(_CANARIES.findall(text)) | ({NUMBERS} if _NUMBERS.search(text) else set())
