"""Token estimates where the provider reports no usage: four characters a token."""

from __future__ import annotations

import re

from llm.canonical import Request

#: An image that an answer contains in full, as the readers of `llm.providers` write it.
_EMBEDDED_IMAGE = re.compile(r"!\[image\]\(data:[^()\s]*\)")

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 1000


def tokens(text: str) -> int:
    text, images = without_images(text)
    return -(-len(text) // CHARACTERS_PER_TOKEN) + images * TOKENS_PER_IMAGE


def without_images(text: str) -> tuple[str, int]:
    """Return `text` with `[image]` for every image that it contains in full, and their number."""
    return _EMBEDDED_IMAGE.subn("[image]", text) if "](data:" in text else (text, 0)


def input_tokens(request: Request) -> int:
    """Return the estimated tokens of everything that `request` sends."""
    texts = [request.system]
    images = 0
    for message in request.messages:
        texts += [message.text, message.reasoning]
        texts.extend(call.name + call.arguments for call in message.tool_calls)
        images += len(message.media)
    texts.extend(f"{tool.name}{tool.description}{tool.parameters or ''}" for tool in request.tools)
    return sum(map(tokens, texts)) + images * TOKENS_PER_IMAGE
