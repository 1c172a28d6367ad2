"""Token counts where the provider reports none: as near to the truth as our estimate comes, in any script."""

from __future__ import annotations

from llm import token_estimate
from llm.canonical import Request

#: What fits into a window is estimated generously, by this much in the middle of all kinds of texts.
_GENEROSITY = 1.4


def tokens(text: str) -> int:
    return _likely(token_estimate.tokens(text))


def input_tokens(request: Request) -> int:
    """Return the estimated tokens of everything that `request` sends."""
    return _likely(token_estimate.request_tokens(request))


def _likely(most: int) -> int:
    return round(most / _GENEROSITY + 0.499)
