"""The small model on this machine: llama.cpp's server on loopback, without a key.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from typing import Any

from llm import canonical
from llm.providers.openai_compatible import OpenAICompatible

#: Without a limit so small a model may write until its context is full: minutes, on two cores
#: (observed 2026-11).
MAX_ANSWER_TOKENS = 512


class Local(OpenAICompatible):
    name = "local"
    label = "The local model"
    accepts = frozenset({"logit_bias"})

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        payload = super().payload(request, model, stream)
        requested = payload.get(self.max_tokens_field, MAX_ANSWER_TOKENS)
        return {**payload, self.max_tokens_field: min(requested, MAX_ANSWER_TOKENS)}
