"""Levels of reasoning effort, in the words of all providers."""

from __future__ import annotations

from collections.abc import Collection

#: `default` is Groq's word for reasoning at all: https://console.groq.com/docs/reasoning (2026-11).
SCALE = {"none": 0, "minimal": 1, "low": 2, "medium": 3, "default": 3, "high": 4, "xhigh": 5, "max": 6}


def nearest(effort: str, allowed: Collection[str]) -> str | None:
    """Return the level of `allowed` that is nearest to `effort`, of two the higher one; None without any."""
    if effort in allowed:
        return effort
    wanted = SCALE.get(effort, SCALE["medium"])
    known = [level for level in allowed if level in SCALE]
    return min(known, key=lambda level: (abs(SCALE[level] - wanted), -SCALE[level]), default=None)
