"""Any server that speaks OpenAI's dialect: vLLM, Ollama, LM Studio, llama.cpp, OpenAI itself."""

from __future__ import annotations

from llm.providers.error_responses import ErrorResponse
from llm.providers.openai_dialect import OpenAIDialect

#: llama.cpp refuses calls while it loads the model, mostly for some seconds:
#: https://github.com/mostlygeek/llama-swap/issues/146 (2025-05)
_LOADING_SECONDS = 1.0


class OpenAICompatible(OpenAIDialect):
    name = "openai_compatible"
    label = "The OpenAI-compatible server"
    needs_key = False
    # Deprecated by OpenAI but accepted; some servers know no other (observed 2026-11):
    # https://platform.openai.com/docs/api-reference/chat/create
    max_tokens_field = "max_tokens"
    # DeepSeek refuses the call that follows tools without it:
    # https://api-docs.deepseek.com/guides/thinking_mode (2026-11)
    reasoning_field = "reasoning_content"

    def retry_delay(self, response: ErrorResponse) -> tuple[float | None, bool]:
        seconds, do_not_wait = super().retry_delay(response)
        if seconds is None and response.status == 503 and "loading model" in response.message.lower():
            seconds = _LOADING_SECONDS
        return seconds, do_not_wait
