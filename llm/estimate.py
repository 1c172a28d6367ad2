"""Token estimates where the provider reports no usage: four characters a token."""

from __future__ import annotations

from llm.canonical import Request

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_IMAGE = 1000


def tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def input_tokens(request: Request) -> int:
    """Return the estimated tokens of everything that `request` sends."""
    texts = [request.system]
    images = 0
    for message in request.messages:
        texts.append(message.text)
        texts.extend(call.name + call.arguments for call in message.tool_calls)
        images += len(message.images)
    texts.extend(f"{tool.name}{tool.description}{tool.parameters or ''}" for tool in request.tools)
    return sum(map(tokens, texts)) + images * TOKENS_PER_IMAGE
