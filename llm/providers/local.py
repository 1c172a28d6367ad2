"""The small model on this machine: llama.cpp's server on loopback, without a key.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from typing import Any

from llm import canonical
from llm.providers.openai_compatible import OpenAICompatible

#: Left to itself, so small a model may ramble until its context is full: minutes, on two cores.
LONGEST_ANSWER_TOKENS = 512


class Local(OpenAICompatible):
    name = "local"
    label = "The local model"

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        payload = super().payload(request, model, stream)
        wished = payload.get(self.max_tokens_field, LONGEST_ANSWER_TOKENS)
        return {**payload, self.max_tokens_field: min(wished, LONGEST_ANSWER_TOKENS)}
