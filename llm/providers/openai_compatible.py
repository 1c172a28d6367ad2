"""Any server that speaks OpenAI's dialect: vLLM, Ollama, LM Studio, llama.cpp, OpenAI itself."""

from __future__ import annotations

from llm.providers.openai_dialect import OpenAIDialect
from llm.providers.refusals import Refusal

#: llama.cpp refuses calls while it reads the model from disk, mostly for some seconds.
_LOADING_SECONDS = 1.0


class OpenAICompatible(OpenAIDialect):
    name = "openai_compatible"
    label = "The OpenAI-compatible server"
    needs_key = False
    max_tokens_field = "max_tokens"  # Deprecated at OpenAI but accepted; some servers know no other.

    def waiting(self, refusal: Refusal) -> tuple[float | None, bool]:
        seconds, do_not_wait = super().waiting(refusal)
        if seconds is None and refusal.status == 503 and "loading model" in refusal.message.lower():
            seconds = _LOADING_SECONDS
        return seconds, do_not_wait
