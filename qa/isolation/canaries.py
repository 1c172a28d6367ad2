"""Marks, by which one look at an answer tells whose documents went into it.

Every text that a tenant owns carries its mark, and Umbrella's figures begin like no other number.
"""

from __future__ import annotations

import re

#: Umbrella's figures, and sums with little else in them, begin so.
FIGURE = 77_700_000
FIGURES = "umbrella.figures"

_FIGURES = re.compile(r"(?<![\w.-])777\d{5}(?![\w-])")
_MARKS = re.compile(r"7f3a-([a-z.]+)-e9c5")


def mark(owner: str) -> str:
    return f"7f3a-{owner}-e9c5"


def owners_in(text: str) -> set[str]:
    """Return whose marks and figures a text shows."""
    return set(_MARKS.findall(text)) | ({FIGURES} if _FIGURES.search(text) else set())
