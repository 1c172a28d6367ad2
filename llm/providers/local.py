"""The small model on this machine: llama.cpp's server on loopback, without a key.

https://github.com/ggml-org/llama.cpp/tree/master/tools/server
"""

from __future__ import annotations

from llm.providers.openai_compatible import OpenAICompatible


class Local(OpenAICompatible):
    name = "local"
    label = "The local model"
